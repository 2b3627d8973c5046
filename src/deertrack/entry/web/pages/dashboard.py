"""The catalogue in charts and tables."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Pages of the dashboard."""
    return APIRouter()
