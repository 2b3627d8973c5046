"""Logging in, accounts and tokens."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes about who may do what."""
    return APIRouter()
