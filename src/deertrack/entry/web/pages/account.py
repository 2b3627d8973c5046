"""Logging in, and who may do what."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Pages about accounts."""
    return APIRouter()
