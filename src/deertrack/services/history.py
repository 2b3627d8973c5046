"""What people changed, and taking it back: at any time, after other changes too, as far as it still makes sense."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deertrack.domain.errors import InputError, NotFoundError
from deertrack.services.editing import NUMBER, Editing, editing
from deertrack.storage import catalogue, edits, reviews
from deertrack.storage.db import Connection, Database
from deertrack.storage.edits import Edit, Fields, Item, Named, Thing

# Fields of an individual that follow from its sightings; all else is as people say.
_FOLLOWS = frozenset({"status", "merged_into"})


@dataclass(frozen=True, slots=True)
class Entry:
    """An edit in words. ``undoable``: nobody undid it; whether that still makes sense shows when it is tried."""

    edit: Edit
    text: str
    undoable: bool


@dataclass(frozen=True, slots=True)
class History:
    """How many edits there are, and some of them, newest first."""

    total: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that stays as it is, and why; ``edit`` is the later one that stands in the way, if there is one."""

    text: str
    edit: int | None


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo put back (``reverted`` things), and what it left.

    ``edit`` is the undo's own number, by which it can be undone in turn; None in a preview.
    """

    edit: int | None
    reverted: int
    kept: tuple[Kept, ...]
    text: str


def list_edits(
    db: Database,
    *,
    individual: str | None = None,
    sighting: int | None = None,
    actor: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> History:
    """What people changed, newest first: of one individual (by name or number), of one sighting, or of all.

    Raises:
        NotFoundError: no such individual.
    """
    with db.transaction() as connection:
        touching = None if sighting is None else (Thing.SIGHTING, sighting)
        if individual is not None:
            touching = (Thing.DEER, catalogue.find_individual(connection, individual).id)
        total, found = edits.list_edits(
            connection, touching=touching, actor=actor, limit=limit, offset=offset
        )
    return History(total, tuple(Entry(edit, describe(edit), edit.undone_by is None) for edit in found))


def answers_to_learn_from(db: Database) -> int:
    """How many answers people gave since the machine last learned from them (``deertrack reid calibrate``)."""
    with db.transaction() as connection:
        return edits.answers_to_learn_from(connection)


def last_edit(db: Database) -> int:
    """The number of the last change by a person; 0 if there was none."""
    with db.transaction() as connection:
        return edits.last_edit(connection)


def undo(db: Database, edit_id: int, *, actor: str, dry_run: bool = False) -> Undone:
    """Put back what an edit changed, as far as nobody changed it since. The undo is an edit that can be undone too.

    Args:
        dry_run: take everything back at the end: a preview.

    Raises:
        NotFoundError: no such edit.
        InputError: it was undone before, or nothing that it changed is as it left it.
    """
    with editing(db, actor) as editor:
        connection = editor.connection
        edit = edits.find_edit(connection, edit_id)
        if edit is None:
            raise NotFoundError(f"there is no change {edit_id}")
        if edit.undone_by is not None:
            raise InputError(
                f"change {edit_id} was undone already, by change {edit.undone_by}",
                hint=f"To have it again, undo change {edit.undone_by}.",
            )
        undoing = _Undoing(editor, edit)
        undoing.put_back()
        if not undoing.reverted:
            why = "; ".join(dict.fromkeys(kept.text for kept in undoing.kept[:3])) or "nothing is left of it"
            later = sorted({kept.edit for kept in undoing.kept if kept.edit is not None})
            first = f"Undo change {later[-1]} first." if later else ""
            raise InputError(f"undoing change {edit_id} makes no sense any more: {why}", hint=first)
        text = f"Undone: {describe(edit)}"
        editor.event("undo", f"edit:{edit_id}", {"kind": edit.kind, "reverted": len(undoing.reverted)})
        number = editor.record("undo", {"what": describe(edit), "edit": edit_id}, undoes=edit_id)
        if dry_run:
            connection.rollback()
        return Undone(None if dry_run else number, len(undoing.reverted), tuple(undoing.kept), text)


class _Undoing:
    """One undo under way: what was put back, and what stays and why."""

    def __init__(self, editor: Editing, edit: Edit) -> None:
        self.editor, self.edit = editor, edit
        self.reverted: list[Item] = []
        self.kept: list[Kept] = []
        self._connection: Connection = editor.connection
        self._now: dict[tuple[Thing, int], Fields] = {}

    def put_back(self) -> None:
        """Look at everything first; then boxes, then sightings, then what follows, then what people said."""
        of: dict[Thing, list[Item]] = {thing: [] for thing in Thing}
        for item in self.edit.items:
            of[item.thing].append(item)
        for thing, items in of.items():
            now = edits.snapshot(self._connection, thing, [item.id for item in items])
            self._now |= {(thing, i): fields for i, fields in now.items()}
        boxes = [item for item in of[Thing.DETECTION] if self._is_as_left(item)]
        sightings = [item for item in of[Thing.SIGHTING] if self._is_as_left(item)]
        deer = [item for item in of[Thing.DEER] if self._is_as_left(item)]
        self._put_back_boxes(boxes)
        self._put_back_sightings(sightings, deer)
        self._put_back_deer(deer)

    def _is_as_left(self, item: Item) -> bool:
        """Whether a thing is still as the edit left it; else it is told why it stays."""
        now = self._now.get((item.thing, item.id))
        if now is not None and _agree(now, item.after):
            return True
        follows = item.thing is Thing.DEER and set(item.after) <= _FOLLOWS
        if now is None or follows or _agree(now, item.before):
            return False
        later = edits.later_edit(self._connection, self.edit.id, item.thing, item.id)
        if later is None:
            text = f"{item.thing} {item.id} was decided about by the machine since"
        else:
            text = f"{later.actor} changed {self._name(item)} since (change {later.id}: {describe(later)})"
        self.kept.append(Kept(text, later.id if later else None))
        return False

    def _name(self, item: Item) -> str:
        if item.thing is Thing.DEER:
            return edits.names(self._connection, [item.id])[item.id].name
        return f"{'box' if item.thing is Thing.DETECTION else item.thing} {item.id}"

    def _put_back_boxes(self, items: Sequence[Item]) -> None:
        if not items:
            return
        fields = {item.id: self._now[Thing.DETECTION, item.id] for item in items}
        sightings = {f["sighting"] for f in fields.values()} | {i.before.get("sighting") for i in items}
        touched = sorted(sighting for sighting in sightings if sighting is not None)
        self.editor.watch(detections=list(fields), sightings=touched)
        # Boxes that go first: a sighting has one box in a photo, also while they change places.
        for item in sorted(items, key=lambda item: not item.before.get("rejected")):
            edits.restore_detection(self._connection, item.id, fields[item.id] | item.before)
        self.reverted += items
        self.editor.mark_empty(touched)

    def _put_back_sightings(self, items: Sequence[Item], deer: Sequence[Item]) -> None:
        back = {item.id for item in deer}  # these become what they were, so sightings may go back to them
        wanted = {
            item.id: item.before.get("deer", self._now[Thing.SIGHTING, item.id]["deer"]) for item in items
        }
        known = edits.names(self._connection, [d for d in wanted.values() if d is not None])
        rivals = reviews.rivals(self._connection, list(wanted)) if wanted else []
        touched: set[int | None] = set()
        for item in items:
            now = self._now[Thing.SIGHTING, item.id]
            owner = known.get(wanted[item.id] or 0)
            if why := self._refused(item, owner, back, rivals, wanted):
                self.kept.append(Kept(why, None))
                continue
            self.editor.watch(sightings=[item.id], deer=[now["deer"], wanted[item.id]])
            edits.restore_sighting(
                self._connection,
                item.id,
                now | item.before,
                decision=item.before.get(NUMBER),
                actor=self.editor.actor,
                reason=f"undo of change {self.edit.id} by {self.editor.actor}",
            )
            detail = {"from": now["deer"], "to": wanted[item.id], "edit": self.edit.id}
            self.editor.event("undo", f"sighting:{item.id}", detail)
            touched |= {now["deer"], wanted[item.id]}
            self.reverted.append(item)
        self.editor.watch(deer=[i.id for i in deer])
        self.editor.follow(touched)

    def _refused(
        self,
        item: Item,
        owner: Named | None,
        back: set[int],
        rivals: Sequence[reviews.Rival],
        wanted: dict[int, int | None],
    ) -> str:
        """Why a sighting cannot go back to who it was, or nothing."""
        if owner is None:
            return ""
        if owner.status == "merged" and owner.id not in back:
            return f"sighting {item.id} stays: {owner.name} was merged into another individual since"
        for rival in rivals:
            beside = wanted.get(rival.other, rival.deer_id)
            if rival.sighting_id == item.id and beside == owner.id:
                return (
                    f"sighting {item.id} stays: {owner.name} is in one of its photos (sighting {rival.other})"
                )
        return ""

    def _put_back_deer(self, items: Sequence[Item]) -> None:
        moved = {item.id for item in self.reverted if item.thing is Thing.SIGHTING}
        for item in items:
            if set(item.after) <= _FOLLOWS and self._sightings_stayed(moved):
                continue  # who lost its sightings stays retired or merged, if they stay where they are
            taken = self._taken(item)
            if taken:
                self.kept.append(Kept(taken, None))
                continue
            self.editor.watch(deer=[item.id])
            now = edits.snapshot(self._connection, Thing.DEER, [item.id])[item.id]
            edits.restore_deer(self._connection, item.id, now | item.before)
            self.editor.follow({item.id})
            if "status" in item.before:  # what follows may have said otherwise
                now = edits.snapshot(self._connection, Thing.DEER, [item.id])[item.id]
                edits.restore_deer(
                    self._connection, item.id, now | {k: v for k, v in item.before.items() if k in _FOLLOWS}
                )
            self.reverted.append(item)

    def _sightings_stayed(self, moved: set[int]) -> bool:
        concerned = {item.id for item in self.edit.items if item.thing is Thing.SIGHTING}
        return bool(concerned) and not moved

    def _taken(self, item: Item) -> str:
        name = item.before.get("name")
        for who in reviews.called(self._connection, [name]) if name else ():
            if who.deer_id not in (None, item.id):
                return f"the name {name!r} belongs to another individual now"
        return ""


def _agree(now: Fields, told: Fields) -> bool:
    return all(now[name] == value for name, value in told.items() if name != NUMBER)


def describe(edit: Edit) -> str:
    """An edit in a sentence."""
    say = _WORDS.get(edit.kind)
    return say(edit.detail) if say else str(edit.detail.get("text", edit.kind))


def _answer(said: dict[str, Any]) -> str:
    before = f", before {said['from']}" if said.get("from") not in (None, said["to"]) else ""
    return f"sighting {said['sighting']} is {said['to']}{before}"


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "assign": _answer,
    "new": lambda said: f"{_answer(said)} (new)",
    "reject": lambda said: f"sighting {said['sighting']} is not {said['name']}",
    "unidentifiable": lambda said: f"sighting {said['sighting']} cannot be told",
    "sex": lambda said: f"sighting {said['sighting']} is {said['to']}, before {said['from']}",
    "merge": lambda said: f"{said['from']} is {said['to']}: {said['sightings']} sightings merged",
    "move": lambda said: (
        f"{said['sightings']} sightings moved from {', '.join(said['from'])} to {said['to']}"
    ),
    "keep apart": lambda said: f"{said['from']} is not {said['to']}",
    "describe": lambda said: f"{said['name']}: {', '.join(said['changed'])} changed",
    "import names": lambda said: (
        f"names imported: {said['moved']} sightings moved, {said['confirmed']} confirmed"
    ),
    "undo": lambda said: f"undone: {said['what']}",
}
