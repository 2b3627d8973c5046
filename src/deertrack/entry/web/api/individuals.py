"""Known individuals, their sightings, and what people say of them."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from deertrack.domain.records import Sex
from deertrack.entry.web.access import Reviewer, Viewer
from deertrack.entry.web.parameters import IfMatch, Limit, Number, Offset, revision, tag
from deertrack.entry.web.site import Site
from deertrack.services import individuals
from deertrack.services.individuals import Portrait
from deertrack.storage.herd import Listed, Met, Order


class Description(BaseModel):
    """What to change of an individual; what is left out stays."""

    name: str | None = Field(default=None, max_length=200)
    notes: str | None = Field(default=None, max_length=20_000)
    sex: Sex | Literal[""] | None = Field(default=None, description="Empty: as its sightings show.")
    age_class: Literal["adult", "yearling", "fawn", "unknown"] | None = None
    aliases: list[Annotated[str, Field(max_length=200)]] | None = Field(default=None, max_length=100)
    status: Literal["active", "retired"] | None = Field(
        default=None, description="Retired: known to be dead or gone, so the machine suggests it no more."
    )


def routes(site: Site) -> APIRouter:
    """Routes of individuals."""
    router = APIRouter()

    def portrayed(number: int, response: Response) -> dict[str, Any]:
        portrait = individuals.portray(site.db, str(number))
        tag(response, portrait.revision)
        return _portrait(portrait)

    @router.get("/api/v1/individuals")
    def list_individuals(
        _: Viewer,
        status: Literal["active", "retired", "merged", "all"] = "active",
        search: Annotated[
            str | None, Query(max_length=200, description="Name, alias, number, notes.")
        ] = None,
        sex: Sex | None = None,
        station: Annotated[str | None, Query(max_length=200)] = None,
        sort: Order = "sightings",
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """Known individuals."""
        found = individuals.page_of_individuals(
            site.db,
            status=status,
            search=search or None,
            sex=sex,
            station=station or None,
            order=sort,
            limit=limit,
            offset=offset,
        )
        return {"total": found.total, "items": [_listed(listed) for listed in found.individuals]}

    @router.get("/api/v1/individuals/{number}")
    def show_individual(number: Number, _: Viewer, response: Response) -> dict[str, Any]:
        """One individual from all sides."""
        return portrayed(number, response)

    @router.get("/api/v1/individuals/{number}/sightings")
    def list_sightings(number: Number, _: Viewer, limit: Limit = 50, offset: Offset = 0) -> dict[str, Any]:
        """An individual's sightings, newest first."""
        found = individuals.meetings(site.db, str(number), limit=limit, offset=offset)
        return {"total": found.total, "items": [_met(met) for met in found.sightings]}

    @router.patch("/api/v1/individuals/{number}")
    def describe(
        number: Number, said: Description, who: Reviewer, response: Response, if_match: IfMatch = None
    ) -> dict[str, Any]:
        """Say something of an individual. 412 if somebody changed it since it was looked at (If-Match)."""
        given = said.model_dump(exclude_unset=True)
        edit = individuals.describe(site.db, str(number), given, actor=who.name, expected=revision(if_match))
        return portrayed(number, response) | {"edit": edit}

    return router


def _listed(listed: Listed) -> dict[str, Any]:
    return asdict(listed)


def _portrait(portrait: Portrait) -> dict[str, Any]:
    best = {flank: portrait.best.get(flank) for flank in ("left", "right")}
    return {
        **_listed(portrait.individual),
        "revision": portrait.revision,
        "best": {**best, "any": portrait.individual.profile_detection_id},
        "companions": [asdict(companion) for companion in portrait.companions],
        "activity": {"hours": portrait.hours, "months": portrait.months},
        "places": [asdict(place) for place in portrait.places],
    }


def _met(met: Met) -> dict[str, Any]:
    return asdict(met)
