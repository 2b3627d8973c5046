"""Fit what a similarity means, on a catalogue whose animals are known.

    .venv/bin/deertrack run CARDS --detections MD.json --home HOME
    .venv/bin/python scripts/fit_calibration.py --home HOME --truth truth.csv --fitted-on "my herd" --out FILE

The curve says how many times as often one animal shows a similarity as two animals do. It is fitted on every
sighting in time order against the profiles of the individuals met before it: different encounters by nature.
"""

import argparse
from pathlib import Path

import numpy as np

from deertrack import wiring
from deertrack.domain.calibration import fit
from deertrack.domain.fusion import Weights
from deertrack.formats.calibration import CalibrationFile, Curve, write_calibration
from deertrack.formats.truth import read_truth
from deertrack.services.truth import compared_pairs, label_detections
from deertrack.settings import read_settings
from deertrack.storage.embeddings import register_version


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--home", type=Path, action="append", required=True, help="catalogue; may be repeated"
    )
    parser.add_argument(
        "--truth", type=Path, action="append", required=True, help="truth.csv of each catalogue"
    )
    parser.add_argument("--fitted-on", required=True, help="what these animals are, in words")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    settings = read_settings(args.home[0])
    with wiring.open_database(settings) as db:
        pack = wiring.load_pack(settings, db)
    cases: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {version.name: [] for version in pack.versions}
    for home, truth in zip(args.home, args.truth, strict=True):
        with wiring.open_database(read_settings(home)) as db:
            labelled = label_detections(db, read_truth(truth))
            for version in pack.versions:
                with db.transaction() as connection:
                    registered = register_version(connection, version)
                cases[version.name].append(compared_pairs(db, registered, labelled, Weights()))
    curves = {}
    for version in pack.versions:
        similarities = np.concatenate([s for s, _ in cases[version.name]])
        same = np.concatenate([r for _, r in cases[version.name]])
        curve = fit(similarities, same)
        curves[version.name] = Curve(curve, tuple(version.fingerprints[o] for o in version.search_outputs))
        ratios = curve.likelihood_ratios(np.quantile(similarities, [0.5, 0.99, 0.999]))
        print(
            f"{version.name}: {same.sum():,} same and {(~same).sum():,} different pairs; likelihood ratio at the "
            f"50 / 99 / 99.9 % points of similarity: {ratios[0]:.2f} / {ratios[1]:.1f} / {ratios[2]:.1f}"
        )
    write_calibration(args.out, CalibrationFile(args.fitted_on, curves))


if __name__ == "__main__":
    main()
