"""Every change by anybody, the machine's among them."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of the audit."""
    return APIRouter()
