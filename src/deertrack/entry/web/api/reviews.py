"""What waits for a person, and a person's answers."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from deertrack.domain.errors import InputError
from deertrack.domain.records import Sex
from deertrack.entry.web.access import Reviewer, Viewer
from deertrack.entry.web.once import Once
from deertrack.entry.web.parameters import Id, IfMatch, Limit, Offset, revision, tag
from deertrack.entry.web.site import Site
from deertrack.services import review, review_queue
from deertrack.services.editing import Consequences
from deertrack.services.review_queue import Looking, Suggested
from deertrack.storage.review_queue import Frame, QueueOrder, Waiting


class Verdict(BaseModel):
    """A person's answer about one sighting."""

    verdict: Literal["same", "new", "not", "unidentifiable"] = Field(
        description="same: it is this individual. new: nobody known. not: not this individual. "
        "unidentifiable: nobody can tell."
    )
    individual: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="Its number: for same and not."
    )
    name: str | None = Field(default=None, max_length=200, description="For new; a friendly name without.")


class SexSaid(BaseModel):
    """Which sex a person sees."""

    sex: Sex


def routes(site: Site) -> APIRouter:
    """Routes of the review."""
    router = APIRouter()

    def looked(sighting: int, response: Response) -> dict[str, Any]:
        looking = review_queue.look_at(site.db, sighting, site.deciding.now())
        tag(response, looking.revision)
        return _told(looking)

    @router.get("/api/v1/reviews")
    def list_reviews(
        _: Viewer,
        order: QueueOrder = "value",
        station: Annotated[str | None, Query(max_length=200)] = None,
        sex: Sex | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        individual: Annotated[str | None, Query(max_length=200)] = None,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> dict[str, Any]:
        """The sightings that wait for a person; by default those first whose answer tells most."""
        found = review_queue.list_queue(
            site.db,
            order=order,
            station=station or None,
            sex=sex,
            since=since,
            until=until,
            individual=individual or None,
            limit=limit,
            offset=offset,
        )
        items = [_listed(waiting) for waiting in found.sightings]
        return {"total": found.total, "minutes": round(found.minutes, 1), "items": items}

    @router.get("/api/v1/sightings/{sighting}")
    def show_sighting(sighting: Id, _: Viewer, response: Response) -> dict[str, Any]:
        """One sighting with its photos and the individuals that it may be, as things stand now."""
        return looked(sighting, response)

    @router.post("/api/v1/sightings/{sighting}/answer", dependencies=[Once])
    def answer(
        sighting: Id, said: Verdict, who: Reviewer, response: Response, if_match: IfMatch = None
    ) -> dict[str, Any]:
        """Say who a sighting is. 412 if somebody decided about it since it was looked at (If-Match)."""
        expected = revision(if_match)
        if said.verdict in {"same", "not"} and said.individual is None:
            raise InputError(f"the verdict {said.verdict!r} needs the number of an individual")
        number = str(said.individual)
        match said.verdict:
            case "same":
                same = review.assign(site.db, sighting, number, actor=who.name, expected=expected)
                edit, text, follows = same.edit, f"Sighting {sighting} is {same.name}", same.consequences
            case "new":
                new = review.assign_new(site.db, sighting, actor=who.name, name=said.name, expected=expected)
                edit, text, follows = new.edit, f"Sighting {sighting} is {new.name}, new", new.consequences
            case "not":
                other = review.reject(site.db, sighting, number, actor=who.name, expected=expected)
                edit, text, follows = (
                    other.edit,
                    f"Sighting {sighting} is not {other.name}",
                    other.consequences,
                )
            case "unidentifiable":
                edit = review.unidentifiable(site.db, sighting, actor=who.name, expected=expected)
                text, follows = f"Sighting {sighting} cannot be told", Consequences()
        now = review_queue.stands(site.db, sighting)
        tag(response, now.revision)
        return {
            "edit": edit,
            "text": text,
            "sighting": {
                "id": sighting,
                "revision": now.revision,
                "state": now.state,
                "sex": now.sex,
                "individual": {"number": now.number, "name": now.name} if now.number else None,
                "by_person": now.by_person,
                "by": now.actor,
            },
            "consequences": {"retired": follows.retired, "revived": follows.revived},
        }

    @router.patch("/api/v1/sightings/{sighting}")
    def set_sex(
        sighting: Id, said: SexSaid, who: Reviewer, response: Response, if_match: IfMatch = None
    ) -> dict[str, Any]:
        """Say which sex a sighting shows. What the machine decided about it is decided anew."""
        edit = review.set_sex(
            site.db,
            sighting,
            said.sex,
            actor=who.name,
            deciders=site.deciding.now(),
            expected=revision(if_match),
        )
        return looked(sighting, response) | {"edit": edit}

    return router


def _listed(waiting: Waiting) -> dict[str, Any]:
    told = asdict(waiting)
    number, name, probability = (told.pop(f"likeliest_{what}") for what in ("number", "name", "probability"))
    told["value"] = told.pop("priority")
    told["likeliest"] = {"number": number, "name": name, "probability": probability} if number else None
    return told


def _told(looking: Looking) -> dict[str, Any]:
    seen = looking.sighting
    return {
        "id": seen.id,
        "revision": looking.revision,
        "encounter_id": seen.encounter_id,
        "station": seen.station,
        "timezone": seen.timezone,
        "started_at": seen.started_at,
        "sex": seen.sex,
        "state": seen.state,
        "individual": {"number": seen.number, "name": seen.name} if seen.number else None,
        "by_person": looking.by_person,
        "by": looking.actor,
        "new_probability": looking.new_probability,
        "photos": [_photo(frame) for frame in seen.frames],
        "companions": [
            {
                "sighting_id": other.id,
                "individual": {"number": other.number, "name": other.name} if other.number else None,
                "side_by_side": other.side_by_side,
            }
            for other in seen.beside
        ],
        "candidates": [_candidate(suggested) for suggested in looking.candidates],
    }


def _photo(frame: Frame) -> dict[str, Any]:
    return {**asdict(frame), "box": asdict(frame.box)}


def _candidate(suggested: Suggested) -> dict[str, Any]:
    known = suggested.known
    last = None
    if known.station is not None:
        last = {"at": known.last_seen, "station": known.station, "timezone": known.timezone}
    photos = [{k: v for k, v in asdict(photo).items() if k != "deer_id"} for photo in suggested.photos]
    return {
        "number": known.number,
        "name": known.name,
        "sex": known.sex,
        "probability": suggested.probability,
        "similarity": suggested.similarity,
        "sightings": known.sighting_count,
        "last_seen": last,
        "best": photos[0] if photos else None,
        "more": [photo["detection_id"] for photo in photos[1:]],
    }
