"""Adding photos, jobs, stations, boxes."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Pages of ingest."""
    return APIRouter()
