"""Changes by people: merge, move, describe, and undo them."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of edits and their history."""
    return APIRouter()
