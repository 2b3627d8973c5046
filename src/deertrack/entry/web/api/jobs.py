"""Queued work and how far it is."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of jobs."""
    return APIRouter()
