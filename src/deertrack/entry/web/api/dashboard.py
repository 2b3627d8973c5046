"""The catalogue in numbers."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of the dashboard."""
    return APIRouter()
