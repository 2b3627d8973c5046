"""What waits for a person, and a person's answers."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of the review."""
    return APIRouter()
