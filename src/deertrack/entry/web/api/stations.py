"""Stations: their zones, places and clocks."""

from fastapi import APIRouter

from deertrack.entry.web.site import Site


def routes(_: Site) -> APIRouter:
    """Routes of stations."""
    return APIRouter()
