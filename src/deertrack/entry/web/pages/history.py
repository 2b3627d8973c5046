"""What was changed, and undoing it."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Pages of the history."""
    return APIRouter()
