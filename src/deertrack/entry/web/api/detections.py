"""Boxes in photos: add, mend, reject; sex and flank."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of detections."""
    return APIRouter()
