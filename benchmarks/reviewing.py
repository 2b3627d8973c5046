"""What reviewing costs: a script answers from the truth over HTTP, as fast as the server lets it.

    .venv/bin/python benchmarks/reviewing.py CARDS --detections MD.json --truth truth.csv [--order value oldest …]

Runs the photos as a user would, in a catalogue of its own, starts the real application and reviews: the next of
the queue, the sighting with its candidates, the answer. Each order and reviewer begins with a copy of the same
catalogue. The reviewer sees what a person sees. ``candidates`` names an animal only if it is among those shown,
else it makes a record for it; ``uniting`` also unites records of one animal that are shown side by side (one more
answer each); ``careful`` finds every record of the animal there is and unites them, as who knows the herd does.

All figures are about pairs of sightings of different encounters. What the pack learned from flatters: --held-out
reviews only the animals that it was not taught (docs/model_cards/nyala.md). --simulate adds, by arithmetic on the
same vectors, more orders, and ways of reviewing that the server does not have. Without arguments it draws a herd
and says so.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import uvicorn
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from deertrack import wiring
from deertrack.domain.embedding import Output, Vectors, normalise
from deertrack.domain.errors import InputError
from deertrack.domain.fusion import joint_vectors
from deertrack.domain.metrics import compare_groupings
from deertrack.entry.web.app import make_app
from deertrack.formats.truth import TruthRow, read_truth
from deertrack.reporting.charts import Axis, Chart, legend, nice_ticks
from deertrack.services.calibrate import calibrate
from deertrack.services.evaluation.labelled_set import load_labelled_set
from deertrack.services.identify import Matcher
from deertrack.services.recluster import recluster
from deertrack.services.training.backbone import hold_out
from deertrack.services.truth import label_detections
from deertrack.settings import Settings, read_settings
from deertrack.storage import catalogue, tracks
from deertrack.storage.db import Database
from deertrack.vision.sample_herd import HerdPlan, draw_herd

SHOWN = 9  # candidates on the review page
TOGETHER = 12  # sightings on a screen that shows several
SERVED = ("value", "oldest", "newest")  # orders that the server has; into the others the script puts the ids


def _instant(waiting: dict[str, Any]) -> float:
    return datetime.fromisoformat(waiting["started_at"]).timestamp() if waiting["started_at"] else 0.0


Looked = tuple[list[int], Vectors, Matcher, dict[Output, Vectors]]
Key = Callable[[dict[str, Any]], float]
ORDERS: dict[str, Key] = {
    "value": lambda w: w["value"] or 0.0,
    "oldest": lambda w: -_instant(w),
    "newest": _instant,
    "likeliest": lambda w: (w["likeliest"] or {}).get("probability") or 0.0,
    "known": lambda w: 1 - (1.0 if w["new_probability"] is None else w["new_probability"]),
    "new": lambda w: w["new_probability"] or 0.0,
    "photos": lambda w: w["photos"],
    "dense": lambda w: w["dense"],
    "random": lambda w: w["random"],
}


# How the chart draws which curves.
DRAWN = (
    ("one", "value, candidates", "candidates"),
    ("five", "value, uniting, taught every 100", "uniting, taught"),
    ("two", "value, uniting", "uniting"),
    ("three", "value, careful", "careful"),
    ("four", "simulated: groups, likelihood ratio 6", "uniting, groups"),
)
HEIGHT = 290
STYLE = """
:root { --soft: #667060; --ink: #22281f; --line: #d9ded3; --paper: #fff;
  --one: #39608c; --two: #3d6b35; --three: #7a4a8c; --four: #b5541c; --five: #a8862a; }
@media (prefers-color-scheme: dark) { :root { --soft: #a3ad9b; --ink: #e7ebe2; --line: #3a4136; --paper: #20241d;
  --one: #8fb6e0; --two: #9ccf8f; --three: #cba3dc; --four: #e59a63;
  --five: #d8cf7c; } }
text { font: 12px system-ui, sans-serif; fill: var(--soft); } .axis text { fill: var(--ink); }
.grid { stroke: var(--line); } polyline { fill: none; stroke-width: 2.2; }
.one { stroke: var(--one); } .two { stroke: var(--two); }
.three { stroke: var(--three); stroke-dasharray: 5 3; }
.four { stroke: var(--four); }
.five { stroke: var(--five); }
"""


@dataclass(frozen=True)
class Truth:
    """Who is on each sighting by the truth (n,), which of them show several animals, and their encounters (n,)."""

    sightings: list[int]
    identity: list[str]
    mixed: set[int]
    encounter: NDArray[np.int64]

    @property
    def of(self) -> dict[int, str]:
        return dict(zip(self.sightings, self.identity, strict=True))


@dataclass(frozen=True)
class Point:
    """The catalogue after so many answers."""

    answers: int
    individuals: int
    precision: float
    recall: float
    b_precision: float
    b_recall: float
    adjusted_rand: float

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass
class Curve:
    """One review from end to end."""

    name: str
    points: list[Point] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    guessed: list[Point] = field(default_factory=list)  # had the rest gone to their likeliest candidates
    suggested: list[tuple[float, bool]] = field(default_factory=list)
    seconds: float = 0.0
    waiting: int = 0

    @property
    def given(self) -> int:
        """How many answers were given; what stands in brackets is none."""
        return sum(count for kind, count in self.answers.items() if not kind.startswith("("))

    @property
    def area(self) -> float:
        """Mean recall over as many answers as sightings waited, in [0, 1]; what was reached stays."""
        answers, recalls = [p.answers for p in self.points], [p.recall for p in self.points]
        recall = np.interp(np.arange(self.waiting), answers, recalls)
        return float(recall.mean())

    def reach(self, recall: float) -> int | None:
        """After how many answers the recall was this high."""
        return next((p.answers for p in self.points if p.recall >= recall), None)


def measure(truth: Truth, groups: Sequence[object], answers: int) -> Point:
    """Groups (n,) held against the truth; None is a sighting for itself. Individuals have a group."""
    own: list[object] = [("alone", i) if g is None else g for i, g in enumerate(groups)]
    _, said = np.unique([str(g) for g in own], return_inverse=True)
    _, true = np.unique(truth.identity, return_inverse=True)
    apart = truth.encounter[:, None] != truth.encounter
    linked, same = (said[:, None] == said) & apart, (true[:, None] == true) & apart
    both = (linked & same).sum(axis=1)
    in_said, in_true = linked.sum(axis=1), same.sum(axis=1)
    return Point(
        answers,
        len({g for g in groups if g is not None}),
        float(both.sum() / in_said.sum()) if in_said.any() else 1.0,
        float(both.sum() / in_true.sum()) if in_true.any() else 1.0,
        float(((both + 1) / (in_said + 1)).mean()),
        float(((both + 1) / (in_true + 1)).mean()),
        compare_groupings(truth.identity, own).adjusted_rand,
    )


def read_state(db: Database, rows: Sequence[TruthRow]) -> tuple[Truth, dict[int, int | None]]:
    """Sightings whose animal is known, and the number of the individual that each is now."""
    with db.transaction() as connection:
        numbers = {i.id: i.number for i in catalogue.list_individuals(connection, status="all")}
    votes: dict[int, Counter[str]] = {}
    encounter, owner = {}, {}
    for item in label_detections(db, rows):
        seen = item.detection
        votes.setdefault(seen.sighting_id, Counter())[item.identity] += 1
        encounter[seen.sighting_id] = seen.encounter_id
        owner[seen.sighting_id] = None if seen.deer_id is None else numbers[seen.deer_id]
    truth = Truth(
        list(votes),
        [count.most_common(1)[0][0] for count in votes.values()],
        {sighting for sighting, count in votes.items() if len(count) > 1},
        np.array([encounter[s] for s in votes], np.int64),
    )
    return truth, owner


class Client:
    """A script's view of the server: JSON there and back on one connection, and how long each kind took."""

    def __init__(self, port: int) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=120)
        self.milliseconds: dict[str, list[float]] = {}

    def ask(
        self, kind: str, method: str, path: str, body: object = None, etag: str | None = None
    ) -> tuple[int, Any, str | None]:
        headers = {"Content-Type": "application/json"} | ({"If-Match": etag} if etag else {})
        start = time.perf_counter()
        self._http.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._http.getresponse()
        answer = json.loads(response.read() or b"null")
        self.milliseconds.setdefault(kind, []).append(1000 * (time.perf_counter() - start))
        return response.status, answer, response.headers.get("ETag")

    def get(self, kind: str, path: str) -> tuple[Any, str | None]:
        status, answer, etag = self.ask(kind, "GET", path)
        if status != 200:
            raise SystemExit(f"GET {path}: {status} {answer}")
        return answer, etag


class Reviewer:
    """Answers from the truth. ``owner`` is what the catalogue says: the individual's number of each sighting."""

    def __init__(self, truth: Truth, owner: dict[int, int | None], kind: str) -> None:
        self.truth, self.owner, self._kind = truth, dict(owner), kind
        self._of = truth.of

    def known_as(self, identity: str) -> list[int]:
        """Individuals whose sightings are this animal in majority, most sightings first."""
        mine = Counter(n for s, n in self.owner.items() if n is not None and self._of[s] == identity)
        size = Counter(self.owner.values())
        return [number for number, count in mine.most_common() if 2 * count > size[number]]

    def answer(self, sighting: int, candidates: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
        """What to say of a sighting beside these individuals, and which individuals are one, its own first."""
        identity = self._of.get(sighting)
        if identity is None or sighting in self.truth.mixed:
            return {"verdict": "unidentifiable"}, []
        known = self.known_as(identity)
        right = [number for number in candidates if number in known]
        if self._kind == "careful":
            right += [number for number in known if number not in right]
        said = {"verdict": "same", "individual": right[0]} if right else {"verdict": "new"}
        return said, right if self._kind != "candidates" else []

    def unite(self, one: int, other: int) -> None:
        self.owner = {s: one if number == other else number for s, number in self.owner.items()}

    def whose(self, number: int) -> str | None:
        """The animal that most sightings of an individual show."""
        whole = Counter(self._of[s] for s, n in self.owner.items() if n == number)
        return whole.most_common(1)[0][0] if whole else None

    def state(self) -> list[int | None]:
        return [self.owner[sighting] for sighting in self.truth.sightings]


def review(site: "Served", rows: Sequence[TruthRow], order: str, kind: str, every: int | None) -> Curve:
    """Answer all that waits. ``every`` so many answers the machine groups anew what no person decided."""
    client = Client(site.port)
    truth, owner = read_state(site.db, rows)
    reviewer = Reviewer(truth, owner, kind)
    curve = Curve(f"{order}, {kind}{f', taught every {every}' if every else ''}")
    curve.points.append(measure(truth, reviewer.state(), 0))
    curve.waiting = client.get("queue", "/api/v1/reviews?limit=1")[0]["total"]
    line = _line(site, client, order)
    start, answered = time.perf_counter(), 0
    for sighting in line:
        seen, etag = client.get("sighting", f"/api/v1/sightings/{sighting}")
        if seen["state"] != "review":  # the machine decided meanwhile
            continue
        said, one = reviewer.answer(sighting, [c["number"] for c in seen["candidates"]])
        path = f"/api/v1/sightings/{sighting}/answer"
        status, told, _ = client.ask("answer", "POST", path, said, etag)
        if status == 422 and said["verdict"] == "same":  # that one is in the same photo, by mistake
            said, one = {"verdict": "new"}, []
            status, told, _ = client.ask("answer", "POST", path, said, etag)
        if status != 200:
            raise SystemExit(f"answer about sighting {sighting}: {status} {told}")
        now = told["sighting"]["individual"]
        reviewer.owner[sighting] = now["number"] if now else None
        missed = said["verdict"] == "new" and len(reviewer.known_as(truth.of[sighting])) > 1
        curve.answers["new, though known" if missed else said["verdict"]] += 1
        curve.points.append(measure(truth, reviewer.state(), curve.given))
        for other in one[1:]:
            _settle(client, reviewer, curve, (one[0], other), one=True)
        answered += 1
        if every and answered % every == 0:
            _teach(site, curve)
            reviewer.owner = read_state(site.db, rows)[1]
            curve.points.append(measure(truth, reviewer.state(), curve.given))
    curve.seconds = time.perf_counter() - start
    curve.milliseconds = client.milliseconds
    _merge(client, reviewer, curve)
    assert reviewer.owner == read_state(site.db, rows)[1]  # the curve is the catalogue's, not the script's
    return curve


def _teach(site: "Served", curve: Curve) -> None:
    """What the people's answers teach the machine, and what it then decides of all that no person decided."""
    try:
        done = calibrate(site.db, partial(wiring.curve_in_use, site.settings, site.db), actor="benchmark")
        curve.answers["(calibrations kept)"] += bool(done.kept)
    except InputError:  # too few answers yet
        pass
    moved = recluster(site.db, wiring.make_deciders(site.settings, site.db))
    curve.answers["(moved by the machine)"] += len(moved.moves)


def _line(site: "Served", client: Client, order: str) -> Iterator[int]:
    """Who is asked about, in this order."""
    if order not in SERVED:
        yield from ranked(site, client, order)
        return
    while (queue := client.get("queue", f"/api/v1/reviews?order={order}&limit=1")[0])["items"]:
        yield queue["items"][0]["id"]


def ranked(site: "Served", client: Client, order: str) -> list[int]:
    """All that waits, by what is known of it before the first answer."""
    name, _, seed = order.partition(":")
    waiting = client.get("queue", "/api/v1/reviews?limit=1000")[0]["items"]
    dense = density(site) if name == "dense" else {}
    drawn = np.random.default_rng(int(seed or 0)).random(len(waiting))
    for place, item in enumerate(waiting):
        item |= {"dense": dense.get(item["id"], 0.0), "random": float(drawn[place])}
    return [item["id"] for item in sorted(waiting, key=lambda w: (-ORDERS[name](w), w["id"]))]


def density(site: "Served") -> dict[int, float]:
    """How many of the other sightings each is likely to be one animal with."""
    found, joint, matcher = looks_of(site)[:3]
    ratio = matcher.calibration.likelihood_ratios(joint @ joint.T)
    np.fill_diagonal(ratio, 0.0)
    share = ratio / (ratio + len(found))
    return dict(zip(found, share.sum(axis=1).tolist(), strict=True))


def looks_of(site: "Served") -> Looked:
    """Sightings, rows whose inner products are their similarities, who compares them, and their vectors."""
    (matcher,) = wiring.make_deciders(site.settings, site.db).matchers
    with site.db.transaction() as connection:
        found = [
            t.sighting_id for t in tracks.seen_tracks(connection, matcher.registered, ["assigned", "review"])
        ]
        outputs = matcher.registered.version.search_outputs
        looks = tracks.pooled_vectors(connection, matcher.registered, found, outputs)
    return found, joint_vectors(looks, matcher.weights.of(matcher.registered.version)), matcher, looks


def _merge(client: Client, reviewer: Reviewer, curve: Curve) -> None:
    """Answer the pairs of records that the server thinks are one animal, if it has such a list."""
    answered: set[tuple[int, int]] = set()
    while True:
        status, told, _ = client.ask("suggestions", "GET", "/api/v1/suggestions")
        pairs = {} if status == 404 else {(m["a"]["number"], m["b"]["number"]): m for m in told["merges"]}
        pair = next((p for p in pairs if p not in answered), None)
        if pair is None:
            return
        answered.add(pair)
        one = reviewer.whose(pair[0]) == reviewer.whose(pair[1]) is not None
        curve.suggested.append((pairs[pair]["probability"], one))
        _settle(client, reviewer, curve, pair, one=one)


def _settle(client: Client, reviewer: Reviewer, curve: Curve, pair: tuple[int, int], *, one: bool) -> None:
    """Say of two records whether they are one animal."""
    path, body = (
        ("/api/v1/merges", {"from": pair[1], "into": pair[0]})
        if one
        else ("/api/v1/apart", {"one": pair[0], "other": pair[1]})
    )
    status, answer, _ = client.ask("merge", "POST", path, body)
    if status != 200:
        raise SystemExit(f"{path} {pair}: {status} {answer}")
    if one:
        reviewer.unite(*pair)
    curve.answers["merged" if one else "kept apart"] += 1
    curve.points.append(measure(reviewer.truth, reviewer.state(), curve.given))


@dataclass(frozen=True)
class Served:
    """The application on a port of this machine, over a copy of the catalogue."""

    settings: Settings
    db: Database
    port: int


@contextmanager
def served(settings: Settings, url: str) -> Iterator[Served]:
    """A copy of the catalogue at ``url``, served until the end of the block."""
    parts = urlsplit(url)
    admin = parts._replace(path="/postgres").geturl()
    name = f"reviewing_{os.getpid()}"
    copied = parts._replace(path=f"/{name}").geturl()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f'CREATE DATABASE {name} TEMPLATE "{parts.path[1:]}"')
    with Database(copied) as db:
        app = make_app(settings, db, wiring.job_queue(db))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.02)
            yield Served(settings, db, server.servers[0].sockets[0].getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


class Herd:
    """The catalogue in memory, for ways of reviewing that the server does not have; counts screens and ticks.

    An individual looks like the mean of its sightings, as in the catalogue. A screen shows a sighting with its
    candidates, or several sightings at once; naming whoever is shown is one answer, marking one of several a tick.
    """

    def __init__(
        self, looked: Looked, truth: Truth, owner: dict[int, int | None], *, unites: bool = True
    ) -> None:
        found, self._joint, matcher, looks = looked
        self._unites = unites
        place = {sighting: i for i, sighting in enumerate(truth.sightings)}
        assert set(found) == set(place)
        order = np.array([found.index(sighting) for sighting in truth.sightings])
        self._joint, self._looks = self._joint[order], {o: rows[order] for o, rows in looks.items()}
        self.ratios = matcher.calibration.likelihood_ratios
        self._shares, self._unmet = matcher.weights.of(matcher.registered.version), matcher.policy.unmet
        self.truth, self.curve, self.ticks = truth, Curve(""), 0
        _, self.identity = np.unique(truth.identity, return_inverse=True)
        self.owner = np.full(len(found), -1)
        self.members: list[list[int]] = []
        self.scores = np.zeros((len(found), 0), np.float32)  # of every sighting with every individual
        self.waiting = {i for i, sighting in enumerate(truth.sightings) if owner[sighting] is None}
        known: dict[int, list[int]] = {}
        for sighting, number in owner.items():
            if number is not None:
                known.setdefault(number, []).append(place[sighting])
        for rows in known.values():
            self._put(rows, self._found())
        self.curve.waiting = len(self.waiting)
        self._note()

    def _found(self) -> int:
        self.members.append([])
        self.scores = np.hstack([self.scores, np.zeros((len(self.scores), 1), np.float32)])
        return len(self.members) - 1

    def _put(self, rows: Sequence[int], individual: int) -> None:
        self.members[individual] += rows
        self.owner[rows] = individual
        self.waiting -= set(rows)
        mine = {o: normalise(x[self.members[individual]].sum(axis=0)[None]) for o, x in self._looks.items()}
        self.scores[:, individual] = self._joint @ joint_vectors(mine, self._shares)[0]

    def _note(self) -> None:
        answers = self.curve.given
        groups = [None if o < 0 else int(o) for o in self.owner]
        self.curve.points.append(measure(self.truth, groups, answers))
        if answers % 10 == 0:
            likeliest = self.scores.argmax(axis=1).tolist()
            groups = [likeliest[i] if group is None else group for i, group in enumerate(groups)]
            self.curve.guessed.append(measure(self.truth, groups, answers))

    def answer(self, rows: Sequence[int]) -> int:
        """One screen about sightings of one animal: who it is among the candidates, or new; returns who."""
        likely = np.argsort(-self.scores[rows].mean(axis=0), kind="stable")[:SHOWN]
        right = [x for x in likely.tolist() if self.members[x] and self.whose(x) == self.identity[rows[0]]]
        individual = right[0] if right else self._found()
        self._put(rows, individual)
        self.curve.answers["same" if right else "new"] += 1
        self._note()
        for other in right[1:] if self._unites else ():
            self._put(self.members[other], individual)
            self.members[other], self.scores[:, other] = [], -1.0
            self.curve.answers["merged"] += 1
            self._note()
        return individual

    def whose(self, individual: int) -> int:
        return int(np.bincount(self.identity[self.members[individual]]).argmax())

    def also(self, individual: int) -> None:
        """One screen: the waiting sightings most like an individual; those that are it are ticked."""
        waiting = np.array(sorted(self.waiting), np.int64)
        if not len(waiting):
            return
        shown = waiting[np.argsort(-self.scores[waiting, individual], kind="stable")[:TOGETHER]]
        right = [i for i in shown.tolist() if self.identity[i] == self.whose(individual)]
        if right:
            self._put(right, individual)
        self.ticks += len(right)
        self.curve.answers["also"] += 1
        self._note()

    def surest(self) -> int:
        """The waiting sighting whose best candidate is likeliest now."""
        waiting = np.array(sorted(self.waiting), np.int64)
        ratio = self.ratios(self.scores[waiting])
        return int(waiting[(ratio.max(axis=1) / (ratio.sum(axis=1) + self._unmet)).argmax()])

    def groups(self, ratio: float) -> list[list[int]]:
        """Waiting sightings in groups that hold together with this likelihood ratio on average, largest first."""
        waiting = np.array(sorted(self.waiting), np.int64)
        likeness = self._joint[waiting] @ self._joint[waiting].T
        distance = np.clip(1 - likeness[np.triu_indices(len(waiting), 1)], 0, 2)
        levels = [1 - s for s in np.linspace(1, -1, 2001) if self.ratios([s])[0] >= ratio]
        level = max(levels, default=0.0)  # a weak curve never says so much: then nobody is grouped
        part = fcluster(linkage(distance, "average"), level, "distance")
        found = [waiting[part == p].tolist() for p in np.unique(part)]
        return sorted((g for g in found if len(g) > 1), key=lambda g: (-len(g), g[0]))


def simulate(site: Served, rows: Sequence[TruthRow]) -> list[Curve]:
    """Orders, and ways of reviewing with several sightings on one screen, each on the same catalogue."""
    truth, owner = read_state(site.db, rows)
    client, looked, curves = Client(site.port), looks_of(site), []
    place = {sighting: i for i, sighting in enumerate(truth.sightings)}
    orders = {
        name: [place[s] for s in ranked(site, client, name)]
        for name in [*ORDERS, *(f"random:{seed}" for seed in range(1, 10))]
    }
    line = orders["value"]

    def run(name: str, step: Callable[[Herd], object], *, unites: bool = True) -> None:
        herd = Herd(looked, truth, owner, unites=unites)
        while herd.waiting:
            step(herd)
        herd.curve.name, herd.curve.answers["(ticks)"] = f"simulated: {name}", herd.ticks
        curves.append(herd.curve)

    def ask_next(herd: Herd, order: list[int]) -> int:
        return herd.answer([next(i for i in order if i in herd.waiting)])

    def and_also(herd: Herd) -> None:
        herd.also(ask_next(herd, line))

    def in_groups(ratio: float) -> Callable[[Herd], None]:
        left: list[list[int]] | None = None

        def step(herd: Herd) -> None:
            nonlocal left
            left = herd.groups(ratio) if left is None else left
            if not left:
                ask_next(herd, line)
                return
            group = left.pop(0)[:TOGETHER]
            whose = np.bincount(herd.identity[group]).argmax()
            mine = [i for i in group if herd.identity[i] == whose]
            herd.ticks += len(group) - len(mine)  # marked as odd ones: they are asked about alone later
            herd.answer(mine)

        return step

    for unites in (False, True):
        kind = "uniting" if unites else "candidates"
        for name, order in orders.items():
            run(f"{name}, {kind}", partial(ask_next, order=order), unites=unites)
        run(f"surest now, {kind}", lambda herd: herd.answer([herd.surest()]), unites=unites)
    run(f"value, then the {TOGETHER} most like it", and_also)
    for ratio in (3, 6, 12):
        run(f"groups, likelihood ratio {ratio}", in_groups(ratio))
    return curves


def catalogue_of(args: argparse.Namespace, scratch: Path) -> tuple[Path, Path]:
    """A home in which the photos ran, and the truth about them."""
    cards, detections, truth = args.cards, args.detections, args.truth
    if cards is None:
        print("Drawn sample herd: these figures say nothing about real animals.")
        herd = draw_herd(scratch / "herd", HerdPlan(individuals=args.animals, visits=5 * args.animals))
        cards, detections, truth = herd.cards, herd.detections, herd.truth
    if args.held_out:
        _, held = hold_out(load_labelled_set(truth, images=cards, detections=detections), seed=0)
        for photo in held.photos:
            copy = scratch / "cards" / photo.path.relative_to(cards.absolute())
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(photo.path, copy)
        cards = scratch / "cards"
        print(f"Only the {len(held.names)} animals that were held out: {len(held.photos)} photos")
    home = args.home or scratch / "home"
    if not home.exists():
        command = [sys.executable, "-m", "deertrack", "run", str(cards), "--home", str(home), "--json"]
        command += ["--detections", str(detections)] if detections else ["--whole-photo"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return home, truth


def told(point: Point) -> str:
    return (
        f"{point.answers:5} answers: {point.individuals:4} individuals, "
        f"pairs P {point.precision:.3f} R {point.recall:.3f} F1 {point.f1:.3f}, "
        f"B-cubed P {point.b_precision:.3f} R {point.b_recall:.3f}, ARI {point.adjusted_rand:.3f}"
    )


def show(curve: Curve) -> None:
    """A curve in a few lines."""
    print(f"\n{curve.name}: {dict(curve.answers)}; area under recall {curve.area:.4f}")
    for share in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1):
        print("  " + told(curve.points[round(share * (len(curve.points) - 1))]))
    reached = {recall: curve.reach(recall) for recall in (0.25, 0.5, 0.75, 0.9, 0.95)}
    print("  recall reached after: " + ", ".join(f"{r:.2f}: {n or '–'}" for r, n in reached.items()))
    if curve.guessed:
        print("  had the machine guessed the rest: " + told(curve.guessed[0]))
        sure = {
            p: next((g.answers for g in curve.guessed if g.precision >= p), None) for p in (0.8, 0.9, 0.95)
        }
        print("    precision reached after: " + ", ".join(f"{p:.2f}: {n}" for p, n in sure.items()))
    if curve.seconds:
        pace = 60 * len(curve.milliseconds["answer"]) / curve.seconds
        times = [
            f"{kind} {statistics.median(ms):.0f} ({np.quantile(ms, 0.95):.0f})"
            for kind, ms in curve.milliseconds.items()
        ]
        print(f"  {pace:.0f} reviews a minute; median (95th) in ms: {', '.join(times)}")


def draw_chart(path: Path, runs: Sequence[Path]) -> None:
    """Recall over answers, one panel for each --json file, as a picture for the documentation."""
    panels = []
    for place, run in enumerate(runs):
        curves = {curve["name"]: curve["points"] for curve in json.loads(run.read_text(encoding="utf-8"))}
        drawn = [(css, curves[name]) for css, name, _ in DRAWN if name in curves]
        most = max(points[-1]["answers"] for _, points in drawn)
        x = Axis(0, most, nice_ticks(0, most), f"answers: {run.stem.replace('_', ' ')}")
        y = Axis(0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1), "recall of pairs", "{:.0%}".format)
        chart = Chart(x, y, height=HEIGHT)
        lines = [chart.line([(p["answers"], p["recall"]) for p in points], css) for css, points in drawn]
        picture = str(chart.draw(*lines, title=f"{run.stem}: recall of pairs over answers"))
        at = f'<svg x="0" y="{HEIGHT * place + 24}" width="560" height="{HEIGHT}" '
        panels.append(picture.replace("<svg ", at, 1))
    words = str(legend([(f"var(--{css})", word) for css, _, word in DRAWN]))
    words = words.replace("<svg ", '<svg width="420" height="17" overflow="visible" ', 1)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 {HEIGHT * len(runs) + 24}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="var(--paper)"/>'
        f"{words}{''.join(panels)}</svg>\n",
        encoding="utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cards", type=Path, nargs="?")
    parser.add_argument("--detections", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument(
        "--held-out", action="store_true", help="only what `train backbone --seed 0` holds out"
    )
    parser.add_argument("--animals", type=int, default=14, help="of a drawn herd")
    parser.add_argument("--order", nargs="*", default=["value"], help=f"{', '.join(ORDERS)}; random:SEED")
    parser.add_argument(
        "--reviewer", nargs="+", choices=["candidates", "uniting", "careful"], default=["candidates"]
    )
    parser.add_argument(
        "--teach",
        type=int,
        metavar="N",
        help="once more, with `reid calibrate` and `recluster` every N answers",
    )
    parser.add_argument("--home", type=Path, help="keep the catalogue here, or take what is here already")
    parser.add_argument("--json", type=Path, help="write all points here")
    parser.add_argument(
        "--simulate", action="store_true", help="ways of reviewing that the server does not have"
    )
    parser.add_argument(
        "--chart", type=Path, nargs="+", metavar="FILE", help="only draw: the SVG to write, --json files"
    )
    args = parser.parse_args()
    if args.chart:
        draw_chart(args.chart[0], args.chart[1:])
        return
    curves: list[Curve] = []
    with tempfile.TemporaryDirectory(prefix="deertrack-bench-") as scratch:
        home, truth = catalogue_of(args, Path(scratch))
        rows = read_truth(truth)
        settings = read_settings(home)
        with wiring.database_url(settings) as url:
            reviews = [(order, reviewer, None) for order in args.order for reviewer in args.reviewer]
            reviews += [("value", "uniting", args.teach)] if args.teach else []
            for order, reviewer, every in reviews:
                with served(settings, url) as site:
                    curves.append(review(site, rows, order, reviewer, every))
                show(curves[-1])
            if args.simulate:
                with served(settings, url) as site:
                    curves += simulate(site, rows)
                for curve in [c for c in curves if c.name.startswith("simulated")]:
                    show(curve)
    if args.json:
        args.json.write_text(json.dumps([as_json(c) for c in curves], indent=1), encoding="utf-8")


def as_json(curve: Curve) -> dict[str, Any]:
    return {
        "name": curve.name,
        "answers": dict(curve.answers),
        "waiting": curve.waiting,
        "area": curve.area,
        "suggested": curve.suggested,
        "points": [vars(p) | {"f1": p.f1} for p in curve.points],
        "guessed": [vars(p) | {"f1": p.f1} for p in curve.guessed],
    }


if __name__ == "__main__":
    main()
