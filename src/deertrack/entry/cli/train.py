"""``deertrack train``: embeddings that learn from animals you know."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.domain.errors import InputError
from deertrack.domain.learned import Method
from deertrack.domain.separation import Estimate
from deertrack.entry.cli.console import (
    counted,
    err,
    next_command,
    out,
    print_json,
    progress_bars,
    simple_table,
)
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services.evaluation.catalogue_set import confirmed_set
from deertrack.services.evaluation.labelled_set import LabelledSet, load_labelled_set
from deertrack.services.evaluation.vectors import VectorFiles
from deertrack.services.models import find_pack
from deertrack.services.progress import Progress
from deertrack.services.training.backbone import FineTuned, Options, train_backbone
from deertrack.services.training.compared import FIGURES, Comparison
from deertrack.services.training.head import Trained, TrainedVersion, train_head
from deertrack.settings import Settings
from deertrack.vision.model_packs import Pack
from deertrack.vision.pack_building import extra

app = typer.Typer(
    help="Let the embedding learn from animals you know: a head in seconds, a network overnight.",
    no_args_is_help=True,
)

_LABELS = {"rank1": "Right first", "rank20": "Among the first 20", "mAP": "mAP"}
_SHOWN_PROBLEMS = 20

Name = Annotated[str, typer.Option(help="Of the new pack; its versions are v1_NAME to v3_NAME.")]
Images = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where the photos are. Default: cards/ or images/ beside TRUTH."),
]
Detections = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="MegaDetector's results. Default: detections.json beside TRUTH, if there."
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="PACK", help="The pack to start from. Default: the one in use, or the built-in one."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed finds the same.")]


@app.command("head")
def head_command(
    name: Name,
    truth: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TRUTH]",
            help="CSV with file, identity, or a folder with one folder for each animal, as for `evaluate`. "
            "Default: the catalogue's sightings that a person confirmed.",
        ),
    ] = None,
    images: Images = None,
    detections: Detections = None,
    method: Annotated[
        Method,
        typer.Option(
            help="lda learns who is who, from 60 animals or so; whitening only how photos vary. Try both."
        ),
    ] = Method.LDA,
    base: From = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Install it even if it does not help.")] = False,
    seed: Seed = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure, and install nothing.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Fit a linear map behind a pack's networks to animals you know. Takes seconds once photos are embedded.

    It is measured first, in five parts: each on animals that the other four did not show. If it does not find
    them better than the pack it starts from, it says so and installs nothing. Otherwise there is a new pack, whose
    versions go through `reid reembed`, `validate` and `cutover` like any other.

    Example: deertrack train head truth.csv --name my-herd
    """
    if truth is None and (images or detections):
        raise InputError(
            "--images and --detections belong to a labelled set", hint="Name it: train head TRUTH"
        )
    settings = settings_for(home)
    with progress_bars(quiet=json) as progress:
        labelled, pack = _learn_from(settings, truth, images, detections, base, progress)
        done = train_head(
            settings.home,
            labelled,
            pack,
            partial(wiring.make_embedder, settings),
            VectorFiles(settings.home / "cache" / "vectors" / settings.precision),
            name=name,
            method=method,
            anyway=anyway,
            dry_run=dry_run,
            seed=seed,
            progress=progress,
        )
    if json:
        print_json(_as_json(done))
        return
    _show_set(done.labelled)
    out.print()
    for version in done.versions:
        _show_version(version)
    _say_what_came_of_it(done, dry_run=dry_run, home=home)


@app.command("backbone")
def backbone_command(
    truth: Annotated[
        Path,
        typer.Argument(
            help="CSV with file, identity, or a folder with one folder for each animal, as for `evaluate`."
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the new pack; its version is v1_NAME.")],
    images: Images = None,
    detections: Detections = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often all photos are shown.")] = 15,
    base: From = None,
    device: Annotated[
        str, typer.Option(help="Where torch computes: cpu, cuda, cuda:1 … A GPU is tens of times as fast.")
    ] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")] = None,
    seed: Seed = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be learned from, and measured by.")
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Fine-tune a pack's network to animals you know. Takes hours on a CPU; needs the Python extra `models`.

    A fifth of the animals is held out and measured by before and after. Each epoch leaves a checkpoint: stopped
    at any moment, the same command goes on. The new pack has one version, and runs wherever the old one ran.

    Example: deertrack train backbone truth.csv --name my-herd-net
    """
    settings = settings_for(home)
    extra("torch")  # before photos are read for minutes
    with progress_bars(quiet=json, lines_every=100) as progress:
        labelled, pack = _learn_from(settings, truth, images, detections, base, progress)
        done = train_backbone(
            settings.home,
            labelled,
            pack,
            partial(wiring.make_embedder, settings),
            VectorFiles(settings.home / "cache" / "vectors" / settings.precision),
            name=name,
            options=Options(epochs=epochs, seed=seed, device=device, threads=threads or settings.threads),
            dry_run=dry_run,
            progress=progress,
        )
    if json:
        print_json(_backbone_json(done))
        return
    _show_backbone(done, home=home)


def _show_backbone(done: FineTuned, *, home: Path | None) -> None:
    plan = done.plan
    _show_set(done.labelled)
    out.print(
        f"Learned from: {counted(plan.photos, 'photo')} of {counted(plan.animals, 'animal')}, in "
        f"{counted(plan.epochs, 'epoch')}. Held out and measured by: {counted(plan.held_out_photos, 'photo')} of "
        f"{counted(plan.held_out_animals, 'animal')}.\n"
    )
    if done.held_out is None or done.pack is None:
        going_on = " It would go on where it was stopped." if plan.resumes else ""
        out.print(f"This was a dry run.{going_on}")
        return
    (version,) = done.pack.versions
    out.print(
        comparison_table(f"{version.name}: animals held out", done.version, version.name, done.held_out)
    )
    out.print()
    gain = _points(done.held_out.gain["mAP"])
    if done.held_out.helps:
        out.print(f"[green]It helps:[/] mAP rises by {gain} points.")
    else:
        out.print(
            f"[bold yellow]It does not help, or nobody can tell on so few animals:[/] mAP changes by {gain} points."
        )
    say_installed(done.pack, list(done.calibrated), home=home)


def _backbone_json(done: FineTuned) -> dict[str, object]:
    return {
        **asdict(done.plan),
        "losses": done.losses,
        "held_out": done.held_out,
        "helps": done.held_out.helps if done.held_out else None,
        "installed": done.pack is not None,
        "directory": done.pack.directory if done.pack else None,
        "notes": done.labelled.notes,
        "problems": done.labelled.problems,
    }


def _learn_from(
    settings: Settings,
    truth: Path | None,
    images: Path | None,
    detections: Path | None,
    base: str | None,
    progress: Progress,
) -> tuple[LabelledSet, Pack]:
    """The animals that are known, and the pack to start from."""
    named = find_pack(settings.home, base) if base else None
    if truth is not None:
        labelled = load_labelled_set(truth, images=images, detections=detections, progress=progress)
        if named or not (settings.database_url or (settings.home / "postgres").is_dir()):
            return labelled, named or wiring.first_pack(settings)
        with wiring.open_database(settings) as db:
            return labelled, wiring.load_pack(settings, db)
    with wiring.open_database(settings) as db:
        return confirmed_set(db), named or wiring.load_pack(settings, db)


def _show_set(labelled: LabelledSet) -> None:
    for problem in labelled.problems[:_SHOWN_PROBLEMS]:
        err.print(f"  {escape(problem.path)}: {escape(problem.reason)}", soft_wrap=True)
    if (more := len(labelled.problems) - _SHOWN_PROBLEMS) > 0:
        err.print(f"  … and {more:,} more (--json lists them)")
    out.print(
        f"[bold]{escape(labelled.source)}:[/] {counted(len(labelled.photos), 'photo')} of "
        f"{counted(len(labelled.names), 'animal')}.",
        soft_wrap=True,
    )
    for note in labelled.notes:
        out.print(f"[yellow]Keep in mind:[/] {escape(note)}")


def _show_version(version: TrainedVersion) -> None:
    for title, comparison in (
        ("new animals among new animals", version.strangers),
        ("new animals among the whole herd", version.herd),
    ):
        out.print(comparison_table(f"{version.name}: {title}", version.base, version.name, comparison))
        out.print()


def comparison_table(title: str, before: str, after: str, comparison: Comparison) -> Any:
    """Figures before and after, with the interval of the gain."""
    table = simple_table("", f"{before}#", f"{after}#", "Gain (95 %)#", title=title)
    for name in FIGURES:
        old, new, gain = (part[name] for part in (comparison.before, comparison.after, comparison.gain))
        table.add_row(_LABELS[name], f"{100 * old.value:.1f} %", f"{100 * new.value:.1f} %", _points(gain))
    return table


def _say_what_came_of_it(done: Trained, *, dry_run: bool, home: Path | None) -> None:
    best = done.versions[-1]
    gain = best.strangers.gain["mAP"]
    if done.helps:
        out.print(f"[green]It helps:[/] mAP of {escape(best.name)} rises by {_points(gain)} points.")
    else:
        out.print(
            f"[bold yellow]It does not help, or nobody can tell on so few animals:[/] mAP of {escape(best.name)} "
            f"changes by {_points(gain)} points among animals that it did not learn from."
        )
    if done.pack is None:
        why = "This was a dry run" if dry_run else "Nothing is installed (--anyway would)"
        out.print(f"{why}.")
        return
    say_installed(done.pack, [v.name for v in done.versions if v.calibrated], home=home)


def say_installed(pack: Pack, calibrated: list[str], *, home: Path | None) -> None:
    """Where a trained pack is and how its versions come into use."""
    out.print(f"Installed [bold]{escape(pack.card.name)}[/] in {escape(str(pack.directory))}", soft_wrap=True)
    uncalibrated = [name for name in pack.card.versions if name not in calibrated]
    if uncalibrated:
        out.print(
            f"[yellow]Nobody knows yet what similarities of {escape(', '.join(uncalibrated))} mean:[/] too few "
            "animals were met again. `deertrack reid calibrate` measures it in a catalogue."
        )
    highest = max(pack.versions, key=lambda version: version.stage).name
    for words in (
        ("reid", "reembed", highest, "--all-detections"),
        ("reid", "validate", highest),
        ("reid", "cutover", highest),
    ):
        next_command(*words, home=home)


def _points(gain: Estimate) -> str:
    if gain.low is None or gain.high is None:
        return f"{100 * gain.value:+.1f}"
    return f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


def _as_json(done: Trained) -> dict[str, object]:
    return {
        "name": done.name,
        "method": done.method,
        "base": done.base,
        "set": {
            "source": done.labelled.source,
            "photos": len(done.labelled.photos),
            "identities": len(done.labelled.names),
            "sightings": done.sightings,
            "notes": done.labelled.notes,
            "problems": done.labelled.problems,
        },
        "versions": done.versions,
        "helps": done.helps,
        "installed": done.pack is not None,
        "directory": done.pack.directory if done.pack else None,
    }
