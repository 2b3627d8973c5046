"""The main job on a folder of known animals: speed, memory, and how well the individuals agree with the truth.

    .venv/bin/python benchmarks/identify.py CARDS --detections MD.json --truth truth.csv

Runs ``deertrack run`` as a user would, in a catalogue of its own, and measures the whole process from outside.
Prints the figures beside two baselines on the same sightings: every sighting its own individual, and one
individual for all. Without arguments it draws a herd and says so: then nothing follows about real animals.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deertrack import wiring
from deertrack.domain.metrics import Agreement, compare_groupings
from deertrack.formats.truth import read_truth
from deertrack.services.truth import compare_with_truth, label_detections
from deertrack.settings import read_settings
from deertrack.vision.sample_herd import draw_herd


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cards", type=Path, nargs="?")
    parser.add_argument("--detections", type=Path)
    parser.add_argument("--truth", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deertrack-bench-") as scratch:
        cards, detections, truth = args.cards, args.detections, args.truth
        if cards is None:
            print("Drawn sample herd: these figures say nothing about real animals.")
            herd = draw_herd(Path(scratch, "herd"))
            cards, detections, truth = herd.cards, herd.detections, herd.truth
        home = Path(scratch, "home")
        command = [sys.executable, "-m", "deertrack", "run", str(cards), "--home", str(home), "--json"]
        command += ["--detections", str(detections)] if detections else ["--whole-photo"]
        started = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        wall = time.perf_counter() - started
        report = json.loads(done.stdout)
        # The largest child: the command itself. The database server is nobody's child. Linux counts in KiB.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (
            1024**2 if sys.platform == "darwin" else 1024
        )
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report["seconds"].items())
        print(
            f"{report['photos_new']:,} photos in {wall:.1f} s = {report['photos_new'] / wall:.1f} photos/s "
            f"({stages})"
        )
        print(f"peak memory {peak:,.0f} MiB")
        print(
            f"{report['encounters']} encounters, {report['tracks']} tracks: {report['matched']} matched, "
            f"{report['new']} new, {report['review']} waiting for review"
        )
        if truth:
            print_agreement(home, truth)


def print_agreement(home: Path, truth: Path) -> None:
    rows = read_truth(truth)
    with wiring.open_database(read_settings(home)) as db:
        report = compare_with_truth(db, rows)
        labelled = label_detections(db, rows)
    print(f"individuals found {report.individuals}, true {report.photos.true_groups}; ", end="")
    print(f"tracks that mix animals {report.mixed_sightings}")
    identities = [item.identity for item in labelled]
    sightings = [item.detection.sighting_id for item in labelled]
    print(f"{'':34}  pairwise P / R / F1      B-cubed P / R / F1      ARI")
    show("photos, as deertrack groups them", report.photos)
    show("  every sighting for itself", compare_groupings(identities, sightings))
    show("  all one individual", compare_groupings(identities, [0] * len(identities)))
    show("sightings (different encounters)", report.sightings)


def show(label: str, agreement: Agreement) -> None:
    scores = [
        f"{score.precision:.3f} / {score.recall:.3f} / {score.f1:.3f}"
        for score in (agreement.pairwise, agreement.b_cubed)
    ]
    print(f"{label:34}  {scores[0]:23}  {scores[1]:23} {agreement.adjusted_rand:.3f}")


if __name__ == "__main__":
    main()
