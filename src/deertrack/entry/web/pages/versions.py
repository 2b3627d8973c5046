"""Embedding versions for admins."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Pages of the lifecycle."""
    return APIRouter()
