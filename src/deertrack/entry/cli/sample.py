"""``deertrack sample``: a drawn herd to try things on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deertrack.entry.cli.console import next_command, out, progress_bars
from deertrack.vision.sample_herd import HerdPlan, draw_herd


def sample_command(
    folder: Annotated[Path, typer.Argument(help="Where to draw it; made if it is not there.")],
    seed: Annotated[int, typer.Option(help="Another seed draws another herd.")] = HerdPlan().seed,
    individuals: Annotated[
        int, typer.Option(min=1, max=200, help="How many animals.")
    ] = HerdPlan().individuals,
) -> None:
    """Draw a sample herd: photos of made-up deer at four stations, with detections and the truth.

    It is for trying the software. The animals are drawn by a program: no accuracy can be claimed from them.
    """
    with progress_bars() as progress:
        progress.start("Drawing a sample herd", None)
        drawn = draw_herd(folder, HerdPlan(seed=seed, individuals=individuals), lambda *_: progress.advance())
    out.print(
        f"Drew {drawn.photos} photos of {drawn.individuals} made-up deer in {escape(str(folder))}",
        soft_wrap=True,
    )
    # A catalogue of its own: drawn deer must never mix with real ones.
    options = ("--detections", drawn.detections, "--calibration", drawn.calibration)
    next_command("run", drawn.cards, *options, home=folder / "catalogue")
