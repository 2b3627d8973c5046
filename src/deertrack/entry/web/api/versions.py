"""Embedding versions: validations, cut-over and roll-back."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of the lifecycle."""
    return APIRouter()
