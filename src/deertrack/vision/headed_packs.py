"""Packs of which learned heads are a part: written out of another pack and heads that were fitted to it."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deertrack.domain.embedding import Output
from deertrack.domain.learned import Head
from deertrack.vision.heads import write_heads
from deertrack.vision.model_packs import Card, HeadFile, Pack
from deertrack.vision.pack_building import copy_notices, file_sha256, write_card


def write_headed_pack(
    pack: Pack,
    heads: Mapping[Output, Head],
    directory: Path,
    *,
    name: str,
    versions: dict[str, int],
    description: str,
    limits: str,
    fitted: str,
) -> None:
    """Write a pack whose vectors are those of ``pack`` without its heads, through new ones.

    Args:
        heads: for each output of the pack.
        directory: where the files of the new pack go.
        fitted: how the heads came about, in words; added to each graph's provenance. Licences stay.
    """
    graphs = []
    for graph in pack.card.graphs:
        shutil.copyfile(pack.directory / graph.file, directory / graph.file)
        file = directory / f"{Path(graph.file).stem}.head.npz"
        write_heads(file, {output: heads[output] for output in graph.outputs})
        graphs.append(
            replace(
                graph, head=HeadFile(file.name, file_sha256(file)), provenance=f"{graph.provenance}; {fitted}"
            )
        )
    write_card(directory, Card(name, description, limits, versions, tuple(graphs)))
    copy_notices(pack, directory)
