"""``deertrack evaluate``: how well this herd's animals are told apart, measured honestly."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deertrack import wiring
from deertrack.domain.decision import Policy
from deertrack.domain.errors import InputError
from deertrack.domain.known_by import KnownBy
from deertrack.domain.learned import Method
from deertrack.domain.protocols import Protocol
from deertrack.domain.replay import Replay
from deertrack.domain.separation import Estimate
from deertrack.entry.cli.console import counted, err, out, print_json, progress_bars, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.reporting.evaluation import FIGURES, SCORES
from deertrack.services.evaluation.catalogue_set import confirmed_set
from deertrack.services.evaluation.evaluate import Evaluation, Request, Verdict, as_json, evaluate
from deertrack.services.evaluation.labelled_set import LabelledSet, load_labelled_set
from deertrack.services.evaluation.learned import LearnedMatcher
from deertrack.services.evaluation.matchers import VersionMatcher, catalogue_matchers, version_matchers
from deertrack.services.evaluation.page import evaluation_page
from deertrack.services.evaluation.vectors import VectorFiles
from deertrack.services.models import pack_with
from deertrack.services.policy import policy_of
from deertrack.services.progress import Progress
from deertrack.settings import Settings
from deertrack.storage.db import Database
from deertrack.vision.model_packs import Pack

_SHOWN_PROBLEMS = 20


def evaluate_command(
    truth: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TRUTH]",
            help="CSV with file, identity (or path, identity), or a folder with one folder for each animal. "
            "Default: the catalogue's sightings that a person confirmed.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the photos are. Default: cards/ or images/ beside TRUTH."),
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="MegaDetector's results. Default: detections.json beside TRUTH, if there."
        ),
    ] = None,
    version: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Embedding version; repeat to compare. Default: all of the pack."),
    ] = None,
    protocol: Annotated[
        list[Protocol] | None,
        typer.Option(help="How photos are kept apart; repeat for several. Default: encounter-disjoint."),
    ] = None,
    known_by: Annotated[
        list[KnownBy] | None,
        typer.Option(
            help="What an individual is to a search: the mean of its sightings (as in a catalogue), the best "
            "of them, or the first one's best photo; repeat to compare. Default: mean."
        ),
    ] = None,
    head: Annotated[
        list[Method] | None,
        typer.Option(
            help="Also measure a learned head behind each version, fitted anew in every fold; repeat for both. "
            "Only under identity-disjoint protocols, which are the default then. `train head` makes one."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with charts and the worst errors.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples of the animals for intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed finds the same.")] = 0,
    json: Json = False,
    home: Home = None,
) -> None:
    """How well are known animals recognised? Measured on photos of different encounters, with intervals.

    Needs no catalogue: photos are embedded on the way and kept for the next time. The figure that a random split
    would give stands beside the honest one, with how much it flatters.

    Example: deertrack evaluate truth.csv --images cards --html evaluation.html
    """
    if truth is None and (images or detections):
        raise InputError("--images and --detections belong to a labelled set", hint="Name it: evaluate TRUTH")
    settings = settings_for(home)
    methods = list(dict.fromkeys(head or []))
    protocols = tuple(dict.fromkeys(protocol or [Protocol.IDENTITY if methods else Protocol.ENCOUNTER]))
    if methods and not all(p.folds for p in protocols):
        raise InputError(
            "--head is measured on animals that it did not learn from",
            hint=f"Give it --protocol {Protocol.IDENTITY} or {Protocol.IDENTITY_SAME_FLANK} only, or none.",
        )
    names = list(dict.fromkeys(version or []))
    ways = list(dict.fromkeys(known_by or [KnownBy.MEAN]))
    with progress_bars(quiet=json) as progress:
        labelled, matchers, policy = (
            _from_catalogue(settings, names, ways)
            if truth is None
            else _from_files(settings, names, ways, truth, images, detections, progress)
        )
        request = Request(protocols, bootstrap=bootstrap, seed=seed, policy=policy)
        learning = [LearnedMatcher(m, method, labelled.codes()) for method in methods for m in matchers]
        evaluation = evaluate(labelled, [*matchers, *learning], request, progress=progress)
        page = evaluation_page(evaluation, progress=progress) if html else ""
    if html:
        _write(html, page)
    if json:
        print_json(as_json(evaluation))
        return
    _show(evaluation)
    if html:
        out.print(
            f"Wrote {escape(str(html))} ({len(page) / 1e6:.1f} MB). Open it in a browser.", soft_wrap=True
        )


def _from_catalogue(
    settings: Settings, names: Sequence[str], ways: Sequence[KnownBy]
) -> tuple[LabelledSet, list[VersionMatcher], Policy]:
    with wiring.open_database(settings) as db:
        packs = _packs(settings, names, db)
        return *catalogue_matchers(db, confirmed_set(db), packs, ways), policy_of(db)


def _from_files(
    settings: Settings,
    names: Sequence[str],
    ways: Sequence[KnownBy],
    truth: Path,
    images: Path | None,
    detections: Path | None,
    progress: Progress,
) -> tuple[LabelledSet, list[VersionMatcher], Policy]:
    labelled = load_labelled_set(truth, images=images, detections=detections, progress=progress)
    with ExitStack() as stack:
        # A labelled set needs no catalogue; where there is one, its active pack is meant, and its calibration.
        there = settings.database_url or (settings.home / "postgres").is_dir()
        db = stack.enter_context(wiring.open_database(settings)) if there and not names else None
        packs = _packs(settings, names, db)
        kept = VectorFiles(settings.home / "cache" / "vectors" / settings.precision)
        load = partial(wiring.make_embedder, settings)
        matchers = version_matchers(labelled, packs, load, kept, db=db, known_by=ways, progress=progress)
        return *matchers, policy_of(db) if db else Policy()


def _packs(settings: Settings, names: Sequence[str], db: Database | None) -> list[tuple[Pack, list[str]]]:
    """The packs to load, each with the versions asked of it."""
    if not names:
        pack = wiring.load_pack(settings, db) if db else wiring.first_pack(settings)
        return [(pack, [version.name for version in pack.versions])]
    packs: dict[str, tuple[Pack, list[str]]] = {}
    for name in names:
        pack = pack_with(settings.home, name)
        packs.setdefault(pack.card.name, (pack, []))[1].append(name)
    return list(packs.values())


def _write(file: Path, page: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None


def _show(evaluation: Evaluation) -> None:
    labelled, counts = evaluation.labelled, evaluation.counts
    for problem in labelled.problems[:_SHOWN_PROBLEMS]:
        err.print(f"  {escape(problem.path)}: {escape(problem.reason)}", soft_wrap=True)
    if (more := len(labelled.problems) - _SHOWN_PROBLEMS) > 0:
        err.print(f"  … and {more:,} more (--json lists them)")
    out.print(f"[bold]{escape(labelled.source)}[/]", soft_wrap=True)
    out.print(
        f"{counted(counts['photos'], 'photo')} of {counted(counts['identities'], 'animal')}, "
        f"{counts['identities_seen_again']:,} of them met in two or more encounters; "
        f"{counted(counts['sightings'], 'sighting')}.\n"
    )
    for protocol in evaluation.verdicts[0].measured:
        table = _table(evaluation.verdicts, protocol)
        if protocol is evaluation.primary and len(evaluation.verdicts) > 1:
            _add_gains(table, evaluation.verdicts)
        out.print(table)
        out.print()
    out.print(_leaky_table(evaluation.verdicts))
    out.print(
        "[yellow]A random split lets photos of one encounter answer each other. It is shown to compare with "
        "papers; never expect it in the field.[/]\n",
    )
    out.print(_pipeline_table(evaluation.verdicts))
    out.print(f"Promised: {evaluation.request.policy.promise}.\n")
    for note in evaluation.notes:
        out.print(f"[yellow]Keep in mind:[/] {escape(note)}")


def _table(verdicts: Sequence[Verdict], protocol: Protocol) -> Table:
    measured = [verdict.measured[protocol] for verdict in verdicts]
    asked = f"{measured[0].closed.queries:,} of {len(measured[0].results.sightings):,} sightings ask"
    leaky = ", leaky" if protocol.leaky else ""
    table = _versions_table(f"{protocol}{leaky}: {asked}", verdicts)
    for name, label in FIGURES.items():
        figures = [m.figures.get(name) for m in measured]
        if any(figures):
            table.add_row(label, *(_figure(name, figure) for figure in figures))
    return table


def _add_gains(table: Table, verdicts: Sequence[Verdict]) -> None:
    """By how much each version is better than the first, resampled together: narrower than the figures' own."""
    for name, label in (("rank1", "Gain, right first"), ("mAP", "Gain, mAP")):
        gains = [
            f"{100 * g.value:+.1f} ({100 * (g.low or 0):+.1f}–{100 * (g.high or 0):+.1f})"
            for g in (v.gain[name] for v in verdicts if v.gain)
        ]
        table.add_row(label, "", *gains)


def _versions_table(title: str, verdicts: Sequence[Verdict]) -> Table:
    return simple_table("", *(f"{verdict.name}#" for verdict in verdicts), title=title)


def _figure(name: str, figure: Estimate | None) -> str:
    """A share in per cent, a score as it is; short, so that three versions fit into 80 columns."""
    if figure is None or math.isnan(figure.value):
        return "–"

    def short(value: float) -> str:
        if name in SCORES:
            return f"{value:.3f}"
        return f"{100 * value:.1f}" if value < 0.9995 else "100"

    unit = "" if name in SCORES else " %"
    if figure.low is None or figure.high is None:
        return f"{short(figure.value)}{unit}"
    ends = "–".join(short(end) for end in (figure.low, figure.high))
    if name in SCORES:
        ends = ends.replace("0.", ".")
    return f"{short(figure.value)}{unit} ({ends})"


def _leaky_table(verdicts: Sequence[Verdict]) -> Table:
    table = _versions_table("random split, leaky", verdicts)
    for name in ("rank1", "mAP"):
        table.add_row(FIGURES[name], *(_figure(name, v.leaky.figures[name]) for v in verdicts))
    inflation = (f"× {v.inflation:.1f}" if v.inflation is not None else "–" for v in verdicts)
    table.add_row("  inflation, first", *inflation)
    return table


def _pipeline_table(verdicts: Sequence[Verdict]) -> Table:
    table = _versions_table("the whole pipeline's decisions", verdicts)
    rows: dict[str, Callable[[Replay], str]] = {
        "Pairwise F1": lambda done: f"{done.agreement.pairwise.f1:.3f}",
        "B-cubed F1": lambda done: f"{done.agreement.b_cubed.f1:.3f}",
        "Adjusted Rand index": lambda done: f"{done.agreement.adjusted_rand:.3f}",
        "Individuals, true": lambda done: f"{done.individuals:,}, {done.agreement.true_groups:,}",
        "Matched, rightly": lambda done: f"{done.assigned:,}, {done.rightly:,}",
        "Left to a person": lambda done: f"{done.waiting:,} of {done.agreement.items:,}",
    }
    for label, say in rows.items():
        table.add_row(label, *(say(v.pipeline) if v.pipeline else "–" for v in verdicts))
    return table
