"""Build the ``nyala`` pack out of a network that ``deertrack train backbone`` fine-tuned. For developers.

    deertrack train backbone nyala/truth.csv --name tuned --epochs 12 --home TRAINING
    python scripts/build_nyala_pack.py --tuned TRAINING/packs/tuned --truth nyala/truth.csv [--out DIR]

The fine-tuned network gives two vectors in one pass: its pooled features whitened, for which no names are needed,
as the single-layer vector, and the neck that was trained. The partner is the MobileNetV2 of the ``lite`` pack
behind a head fitted by LDA.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

import numpy as np
from onnx import load, numpy_helper

from deertrack.domain.embedding import Output
from deertrack.domain.learned import Method, classes_of, fit_head
from deertrack.services.evaluation.labelled_set import LabelledSet, load_labelled_set
from deertrack.services.evaluation.vectors import VectorFiles, embed_photos
from deertrack.services.training.backbone import hold_out
from deertrack.vision.embedder import Embedder
from deertrack.vision.graph_building import Tail, project
from deertrack.vision.heads import write_heads
from deertrack.vision.model_packs import Card, Graph, HeadFile, Pack, builtin_pack, load_pack
from deertrack.vision.pack_building import copy_notices, file_sha256, write_card
from deertrack.vision.projections import read_features, whitening

DEFAULT_OUT = Path(__file__).parents[1] / "src" / "deertrack" / "vision" / "packs" / "nyala"
FILE = "efficientnet_lite0_nyala.onnx"
NOTICE = """\
efficientnet_lite0_nyala.onnx was fine-tuned, and mobilenet_v2.head.npz fitted, on 969 photos of 143 wild nyala from
https://github.com/tvanzyl/wildlife_reidentification (Dlamini & van Zyl 2020), public, without a stated licence. No
photo is contained. Whether terms of the photos reach numbers that were learned from them is not settled; who wants
to be safe sets DEERTRACK_PACK=lite.
"""
RIDGE = 0.3  # of the mean variance: a trained network's small directions hold more than noise


def neck_of(path: Path, output: str) -> tuple[np.ndarray, np.ndarray]:
    """The trained map and what is subtracted before it: (d, 512) and (d,)."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in load(path).graph.initializer}
    return constants[f"{output}/projection"].astype(float), constants[f"{output}/mean"].astype(float)


def tuned_graph(tuned: Pack, labelled: LabelledSet, out: Path) -> Graph:
    """The fine-tuned network with both projections."""
    (graph,) = (g for g in tuned.card.graphs if Output.SINGLE in g.outputs)
    trained = graph.outputs[Output.SINGLE]
    photos = [(photo.path, [photo.box]) for photo in labelled.photos]
    features = read_features(tuned, photos, advance=lambda _: None)[Output.SINGLE]
    mean, matrix = whitening(features, ridge=RIDGE)
    neck, centre = neck_of(tuned.directory / graph.file, trained)
    tails = [Tail(trained, "neck", neck, shift=centre), Tail(trained, "whitened", matrix, shift=mean)]
    project(tuned.directory / graph.file, tails, out / FILE)
    return replace(
        graph,
        file=FILE,
        sha256=file_sha256(out / FILE),
        outputs={Output.SINGLE: "whitened", Output.MULTISCALE: "neck"},
        projection=f"neck: trained with the network; whitened: PCA-whitening of the pooled features of "
        f"{len(features):,} crops, ridge {RIDGE:g} times the mean variance",
    )


def partner_graph(lite: Pack, labelled: LabelledSet, out: Path) -> Graph:
    """MobileNetV2 as it is, behind a head."""
    (graph,) = (g for g in lite.card.graphs if Output.PARTNER in g.outputs)
    copyfile(lite.directory / graph.file, out / graph.file)
    with TemporaryDirectory() as kept:
        vectors, bad = embed_photos(labelled.photos, lite, lambda: Embedder(lite), VectorFiles(Path(kept)))
    assert not bad
    codes = labelled.codes()
    head = fit_head(Method.LDA, vectors[Output.PARTNER], classes_of(codes.identity, codes.flank))
    file = out / "mobilenet_v2.head.npz"
    write_heads(file, {Output.PARTNER: head})
    fitted = f"behind it a head: LDA on {len(labelled.photos):,} photos of {len(labelled.names)} nyala"
    return replace(
        graph, head=HeadFile(file.name, file_sha256(file)), provenance=f"{graph.provenance}; {fitted}"
    )


def build(tuned: Pack, truth: Path, out: Path) -> None:
    """Write the pack. All of it learns from the animals that the network learned from; on the others it is measured
    and calibrated: `deertrack evaluate`, `reid calibrate`.
    """
    labelled, _ = hold_out(load_labelled_set(truth), seed=0)
    out.mkdir(parents=True, exist_ok=True)
    lite = builtin_pack("lite")
    card = Card(
        name="nyala",
        description="Two small networks taught to tell individual nyala apart: no download, quick on a laptop.",
        limits="Learned from public photos of one species, without a stated licence: docs/model_cards/nyala.md.",
        versions={"v1_nyala": 1, "v2_nyala": 2, "v3_nyala": 3},
        graphs=(tuned_graph(tuned, labelled, out), partner_graph(lite, labelled, out)),
    )
    write_card(out, card)
    copy_notices(lite, out)
    notice = out / "NOTICE"
    notice.write_text(f"{notice.read_text(encoding='utf-8').rstrip()}\n\n{NOTICE}", encoding="utf-8")
    for graph in load_pack(out).card.graphs:
        print(f"{graph.file}  {(out / graph.file).stat().st_size / 1e6:.1f} MB  {graph.sha256}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the nyala pack out of a fine-tuned network.")
    parser.add_argument("--tuned", type=Path, required=True, help="pack that `train backbone` made")
    parser.add_argument("--truth", type=Path, required=True, help="the labelled set that it was trained on")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="directory to write")
    args = parser.parse_args()
    build(load_pack(args.tuned), args.truth, args.out)


if __name__ == "__main__":
    main()
