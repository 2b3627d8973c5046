"""Where the animals are in a photo, as people mend it: boxes added, moved, rejected, restored, described.

Vectors are immutable, so a box that is moved is a new detection in the sighting of the old one, which is rejected.
What is new waits to be embedded, grouped and decided: :func:`deertrack.services.queue.defer_catch_up`.
"""

from dataclasses import dataclass, field, replace

from deertrack.domain.encounters import agreed_sex
from deertrack.domain.errors import InputError, NotFoundError
from deertrack.domain.records import AgeClass, Box, Sex
from deertrack.services.editing import Consequences, Editing, editing
from deertrack.storage import boxes, sightings
from deertrack.storage.boxes import Photo, PhotoBox
from deertrack.storage.db import Connection, Database

FLANKS = ("left", "right", "unknown")


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of a change: the detection that is there now, and the edit that undoes it (None: nothing changed).

    ``waits``: it has to be embedded, grouped and decided about.
    """

    detection_id: int
    edit: int | None
    waits: bool
    consequences: Consequences = field(default_factory=Consequences)


def show_photo(db: Database, image_id: int) -> tuple[Photo, list[PhotoBox]]:
    """A photo and its boxes from left to right, the rejected ones last.

    Raises:
        NotFoundError: no such photo.
    """
    with db.transaction() as connection:
        return _photo(connection, image_id), boxes.boxes_of(connection, image_id)


def show_box(db: Database, detection_id: int) -> PhotoBox:
    """One box.

    Raises:
        NotFoundError: no such detection.
    """
    with db.transaction() as connection:
        return _box(connection, detection_id)


def add(
    db: Database,
    image_id: int,
    box: Box,
    *,
    sex: Sex = Sex.UNKNOWN,
    flank: str = "unknown",
    actor: str,
) -> Mended:
    """A person draws a box around an animal that the detector missed.

    Raises:
        NotFoundError: no such photo.
        InputError: its pixels cannot be read, or it has this box already.
    """
    with editing(db, actor) as edit:
        photo = _photo(edit.connection, image_id)
        if photo.error:
            raise InputError(f"photo {image_id} cannot be read: {photo.error}")
        blank = PhotoBox(
            id=0, image_id=image_id, box=box, confidence=1, label="", sex=sex, age_class=AgeClass.UNKNOWN,
            flank=_flank(flank), rejected=False, drawn_by=actor, sighting_id=None, encounter_id=None, state=None,
            deer_id=None, number=None, name=None,
        )  # fmt: skip
        new = _add(edit, blank, box)
        text = f"a box added to photo {image_id}"
        return _done(edit, "add box", new, {"photo": image_id, "text": text}, waits=True)


def move(db: Database, detection_id: int, box: Box, *, actor: str) -> Mended:
    """A person mends where a box is. The new one stays in the sighting.

    Raises:
        NotFoundError: no such detection.
        InputError: it is rejected, or there is another one just there.
    """
    with editing(db, actor) as edit:
        old = _box(edit.connection, detection_id)
        if old.rejected:
            raise InputError(f"detection {detection_id} is rejected", hint="Restore it first.")
        if old.box == box:
            return Mended(detection_id, None, waits=False)
        edit.watch(detections=[old.id], deer=[old.deer_id])
        boxes.reject_box(edit.connection, old.id)
        new = _add(edit, old, box)
        edit.follow({old.deer_id})
        detail = {"photo": old.image_id, "from": old.id, "text": f"a box mended in photo {old.image_id}"}
        return _done(edit, "mend box", new, detail, waits=True)


def reject(db: Database, detection_id: int, *, actor: str) -> Mended:
    """A person says that a box is no animal. A sighting that has no other box shows no animal.

    Raises:
        NotFoundError: no such detection.
    """
    with editing(db, actor) as edit:
        old = _box(edit.connection, detection_id)
        edit.watch(detections=[old.id])
        if not old.rejected:
            boxes.reject_box(edit.connection, old.id)
            if old.sighting_id is not None:
                edit.mark_empty([old.sighting_id])
        return _done(
            edit,
            "reject box",
            old.id,
            {
                "photo": old.image_id,
                "sighting": old.sighting_id,
                "text": f"a box of photo {old.image_id} is no animal",
            },
            waits=False,
        )


def restore(db: Database, detection_id: int, *, actor: str) -> Mended:
    """A person says that a rejected box is an animal after all. It is grouped and decided about like a new one.

    Raises:
        NotFoundError: no such detection.
    """
    with editing(db, actor) as edit:
        old = _box(edit.connection, detection_id)
        edit.watch(detections=[old.id])
        if old.rejected:
            boxes.restore_box(edit.connection, old.id)
        return _done(
            edit,
            "restore box",
            old.id,
            {"photo": old.image_id, "text": f"a box of photo {old.image_id} is an animal after all"},
            waits=old.rejected,
        )


def describe(
    db: Database, detection_id: int, *, sex: Sex | None = None, flank: str | None = None, actor: str
) -> Mended:
    """A person says which sex an animal shows in a photo, or which flank. What is None stays.

    The sighting's sex follows from its boxes, unless a person said that one too.

    Raises:
        NotFoundError: no such detection.
        InputError: no such flank.
    """
    with editing(db, actor) as edit:
        old = _box(edit.connection, detection_id)
        sighting = [] if old.sighting_id is None else [old.sighting_id]
        edit.watch(detections=[old.id], sightings=sighting, deer=[old.deer_id])
        new = replace(old, sex=sex or old.sex, flank=_flank(flank or old.flank))
        boxes.describe_box(edit.connection, old.id, sex=new.sex, flank=new.flank)
        if new.sex != old.sex and old.sighting_id is not None and old.encounter_id is not None:
            agreed = agreed_sex(boxes.sexes_of(edit.connection, old.sighting_id))
            sightings.put_sighting(edit.connection, old.encounter_id, [], agreed, sighting_id=old.sighting_id)
            edit.follow({old.deer_id})
        changed = {
            name: [before, after]
            for name, before, after in (("sex", old.sex, new.sex), ("flank", old.flank, new.flank))
            if before != after
        }
        said = ", ".join(f"{name} {after}, before {before}" for name, (before, after) in changed.items())
        detail = {"photo": old.image_id, "text": f"a box of photo {old.image_id}: {said}", **changed}
        return _done(edit, "describe box", old.id, detail, waits=False)


def _add(edit: Editing, like: PhotoBox, box: Box) -> int:
    new = boxes.add_box(edit.connection, like, box, drawn_by=edit.actor)
    if new is None:
        raise InputError(
            f"photo {like.image_id} has a detection with this box already",
            hint="If it is rejected, restore that one.",
        )
    edit.made_detections([new])
    return new


def _done(edit: Editing, kind: str, detection_id: int, detail: dict[str, object], *, waits: bool) -> Mended:
    number = edit.record(kind, {"detection": detection_id, **detail})
    if number is not None:
        edit.event(kind, f"detection:{detection_id}", detail)
    return Mended(detection_id, number, waits, edit.consequences)


def _flank(text: str) -> str:
    if text not in FLANKS:
        raise InputError(f"expected a flank ({', '.join(FLANKS)}), got {text!r:.40}")
    return text


def _photo(connection: Connection, image_id: int) -> Photo:
    photo = boxes.find_photo(connection, image_id)
    if photo is None:
        raise NotFoundError(f"there is no photo {image_id}")
    return photo


def _box(connection: Connection, detection_id: int) -> PhotoBox:
    box = boxes.find_box(connection, detection_id)
    if box is None:
        raise NotFoundError(f"there is no detection {detection_id}")
    return box
