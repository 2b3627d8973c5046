"""The gallery of individuals, and a page for each."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Pages of individuals."""
    return APIRouter()
