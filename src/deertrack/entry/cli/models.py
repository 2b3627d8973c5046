"""``deertrack models``: the networks that turn an animal's picture into numbers."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.domain.errors import DatabaseError, InputError
from deertrack.entry.cli.console import err, out, print_json, progress_bars, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services import models
from deertrack.services.models import InstalledPack
from deertrack.settings import Settings
from deertrack.storage import catalogue
from deertrack.storage.db import Database
from deertrack.storage.server import EmbeddedServer
from deertrack.vision.crops import CropRule
from deertrack.vision.model_packs import Normalisation

app = typer.Typer(
    help="The networks that turn an animal's picture into numbers: packs with ONNX graphs and a card.",
    no_args_is_help=True,
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, and change nothing.")]


class Recipe(StrEnum):
    """What `build` can build."""

    RESNET50_B0 = "resnet50-b0"


@app.command("list")
def list_command(json: Json = False, home: Home = None) -> None:
    """Show the packs on this machine, and which embedding version the catalogue works with.

    The catalogue is asked only where its database runs; nothing is started.
    """
    settings = settings_for(home)
    packs = models.installed_packs(settings.home)
    active = _active_version(settings)
    if json:
        print_json({"active_version": active, "packs": [_as_json(found) for found in packs]})
        return
    table = simple_table("Pack", "Version", "Stage#", "Fingerprint", "Licence", "MB#", "Where")
    for found in packs:
        where = "built in" if found.built_in else str(found.directory)
        size = f"{found.size_bytes / 1e6:,.0f}"
        licence = ", ".join(dict.fromkeys(g.licence for g in found.pack.card.graphs)) if found.pack else ""
        head = (escape(found.name), escape(licence), size, escape(where))
        if found.pack is None:
            table.add_row(head[0], "[bold red]damaged[/]", "", "", "", size, head[3])
            continue
        for version in found.pack.versions:
            name = escape(version.name) + (" [bold green](in use)[/]" if version.name == active else "")
            short = " ".join(version.fingerprints[output][:12] for output in version.search_outputs)
            table.add_row(head[0], name, str(version.stage), short, *head[1:])
            head = ("", "", "", "")
    out.print(table)
    for found in packs:
        if found.problem:
            err.print(f"[bold yellow]{escape(found.name)}:[/] {escape(found.problem)}", soft_wrap=True)


@app.command()
def install(
    source: Annotated[Path, typer.Argument(help="A pack's folder, or a .zip or .tar.gz of one.")],
    dry_run: DryRun = False,
    home: Home = None,
) -> None:
    """Install a pack that was built elsewhere, from a USB stick for example. Needs no network.

    It is checked on the way in: files, engines, vectors. A damaged pack of the same name is replaced.

    Example: deertrack models install /media/stick/resnet50-b0.zip
    """
    pack = models.install(settings_for(home).home, source, dry_run=dry_run)
    if dry_run:
        out.print(f"{escape(pack.card.name)} is sound and would be installed.")
    else:
        _say_installed(pack.card.name, list(pack.card.versions), pack.directory)


@app.command()
def build(
    recipe: Annotated[Recipe, typer.Argument(help="What to build.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Weights on this machine: the folders resnet-50 and efficientnet-b0."
        ),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(
            metavar="SEED", help="Untrained, 0 to 99: for tests and measurements only. Names say so."
        ),
    ] = None,
    dry_run: DryRun = False,
    home: Home = None,
) -> None:
    """Build the pack resnet50-b0 from published weights. Needs the Python extra `models`.

    ResNet50 (pooled; layers 2 to 4 and pooled) and EfficientNet-B0, each projected to 512 numbers. Without
    --weights they come from huggingface.co, or from its cache on this machine. The graphs are compared with the
    torch networks before the pack is installed.

    Example: deertrack models build resnet50-b0 --weights /media/stick/weights
    """
    where = settings_for(home).home
    assert recipe is Recipe.RESNET50_B0
    if not dry_run:
        err.print("Building takes about a minute, and the first time 124 MB of weights are fetched.")
    name = models.build_resnet50_b0(where, weights=weights, random_seed=random, dry_run=dry_run)
    if dry_run:
        out.print(f"Would build {name} (128 MB) into {escape(str(where / 'packs' / name))}", soft_wrap=True)
        return
    pack = models.find_pack(where, name)
    _say_installed(name, list(pack.card.versions), pack.directory)


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The exported network.")],
    name: Annotated[str, typer.Option(help="Name of the new pack.")],
    version: Annotated[str, typer.Option(help="Name of its embedding version, 20 characters at most.")],
    size: Annotated[str, typer.Option("--input", metavar="HxW", help="Input height and width in pixels.")],
    licence: Annotated[str, typer.Option(help="Under what terms its weights may be used.")],
    provenance: Annotated[str, typer.Option(help="Who trained it on what, and where it is from.")],
    stage: Annotated[int, typer.Option(help="1: single-layer vector. 2: multi-scale vector.")] = 1,
    output: Annotated[str | None, typer.Option(help="The graph's output, if it has several.")] = None,
    mean: Annotated[
        str, typer.Option(metavar="R,G,B", help="Subtracted from scaled pixels.")
    ] = "0.485,0.456,0.406",
    std: Annotated[
        str, typer.Option(metavar="R,G,B", help="What the rest is divided by.")
    ] = "0.229,0.224,0.225",
    scale: Annotated[float, typer.Option(help="What pixels of 0 to 255 are multiplied by first.")] = 1 / 255,
    crop: Annotated[
        CropRule, typer.Option(help="How a box of any shape fills the input.")
    ] = CropRule.STRETCH,
    dry_run: DryRun = False,
    home: Home = None,
) -> None:
    """Make a pack out of any ONNX embedding that you exported: MegaDescriptor or MiewID, for example.

    An output of other than 512 numbers is projected to 512 inside the graph, which needs the Python extra
    `models`.

    Example: deertrack models import mega.onnx --name mega-t --version v1_mega_t --input 224x224
    --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --licence CC-BY-NC-4.0 --provenance "MegaDescriptor-T-224"
    """
    pack = models.import_onnx(
        settings_for(home).home,
        file,
        name=name,
        version=version,
        stage=stage,
        input_hw=_height_and_width(size),
        normalisation=Normalisation(scale, _three("--mean", mean), _three("--std", std)),
        crop=crop,
        output=output,
        licence=licence,
        provenance=provenance,
        dry_run=dry_run,
    )
    if dry_run:
        out.print(
            f"{escape(file.name)} is sound and would be imported. {escape(pack.card.graphs[0].projection)}"
        )
    else:
        _say_installed(name, [version], pack.directory)


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="A pack. Default: all.")] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """Check packs: files, engines, vectors. Exit status 1 if something is wrong."""
    where = settings_for(home).home
    names = [name] if name else [found.name for found in models.installed_packs(where)]
    findings = {pack: models.check(where, pack) for pack in names}
    sound = all(finding.ok for found in findings.values() for finding in found)
    if json:
        print_json({"ok": sound, "packs": findings})
    else:
        table = simple_table("Pack", "Checked", "", "")
        for pack, found in findings.items():
            for finding in found:
                mark = "[green]ok[/]" if finding.ok else "[bold red]wrong[/]"
                hint = f"\n{finding.hint}" if finding.hint else ""
                table.add_row(escape(pack), escape(finding.what), mark, escape(finding.detail + hint))
        out.print(table)
    if not sound:
        raise typer.Exit(1)


@app.command("fit-projection")
def fit_projection(
    name: Annotated[str, typer.Argument(help="The pack to start from.")],
    new_name: Annotated[str, typer.Option("--as", metavar="NAME", help="Name of the new pack.")],
    dry_run: DryRun = False,
    home: Home = None,
) -> None:
    """Fit a pack's projections to your own animals: a new pack, with embedding versions of its own.

    PCA-whitening on the crops in the catalogue, 600 at least. Needs the Python extra `models`. Validate the
    new version before you work with it: it fits your herd better on average, not always.

    Example: deertrack models fit-projection resnet50-b0 --as my-herd
    """
    settings = settings_for(home)
    with wiring.open_database(settings) as db, progress_bars() as progress:
        report = models.fit_projection(settings.home, db, name, new_name, dry_run=dry_run, progress=progress)
    if dry_run:
        out.print(f"Would fit {', '.join(report.versions)} on {report.crops:,} crops.")
        return
    if report.unreadable:
        err.print(f"[bold yellow]{report.unreadable:,} crops could not be read[/] and were left out.")
    out.print(f"Fitted on {report.crops:,} crops.")
    _say_installed(new_name, list(report.versions), settings.home / "packs" / new_name)


def _say_installed(name: str, versions: list[str], directory: Path) -> None:
    out.print(f"Installed [bold]{escape(name)}[/] in {escape(str(directory))}", soft_wrap=True)
    out.print(f"Embedding versions: {escape(', '.join(versions))}", soft_wrap=True)


def _active_version(settings: Settings) -> str | None:
    """What the catalogue works with; None where its database does not run or has none yet."""
    url = settings.database_url or EmbeddedServer(settings.home).status().url
    if url is None:
        return None
    try:
        with Database(url) as db, db.transaction() as connection:
            name: str | None = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
            return name
    except DatabaseError:
        return None


def _as_json(found: InstalledPack) -> dict[str, object]:
    versions = found.pack.versions if found.pack else ()
    return {
        "name": found.name,
        "directory": str(found.directory),
        "built_in": found.built_in,
        "size_bytes": found.size_bytes,
        "problem": found.problem,
        "licences": [graph.licence for graph in found.pack.card.graphs] if found.pack else [],
        "versions": [
            {
                "name": version.name,
                "stage": version.stage,
                "fingerprints": {
                    output.value: version.fingerprints[output] for output in version.search_outputs
                },
            }
            for version in versions
        ],
    }


def _height_and_width(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})[xX×](\d{2,4})", text)
    if match is None:
        raise InputError(f"--input: expected height x width, such as 224x224, got {text!r}")
    return int(match[1]), int(match[2])


def _three(option: str, text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = map(float, text.split(","))
    except ValueError:
        raise InputError(f"{option}: expected three numbers such as 0.5,0.5,0.5, got {text!r}") from None
    return red, green, blue
