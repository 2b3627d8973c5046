"""Photos, crops and matched features, by id and never by path."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes that serve pictures."""
    return APIRouter()
