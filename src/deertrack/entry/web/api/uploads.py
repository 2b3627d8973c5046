"""Cards that a browser sends, in pieces that can be sent again."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of uploads."""
    return APIRouter()
