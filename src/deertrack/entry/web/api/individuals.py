"""Known individuals and their sightings."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from deertrack.entry.web.access import Viewer
from deertrack.entry.web.site import Site
from deertrack.services import individuals


def routes(site: Site) -> APIRouter:
    """Routes of individuals."""
    router = APIRouter()

    @router.get("/api/v1/individuals")
    def list_individuals(_: Viewer, status: str = "active") -> list[dict[str, Any]]:
        """All known individuals."""
        return [asdict(individual) for individual in individuals.list_individuals(site.db, status=status)]

    @router.get("/api/v1/individuals/{number}")
    def show_individual(number: int, _: Viewer) -> dict[str, Any]:
        """One individual with its sightings and photos."""
        return asdict(individuals.show_individual(site.db, str(number)))

    return router
