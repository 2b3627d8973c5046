"""Embedding versions at a glance: what decides, what could, and the evidence for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deertrack.domain.fusion import Weights
from deertrack.services.lifecycle.cutover import revision
from deertrack.services.models import installed_packs
from deertrack.services.versions import Tuning, get_tuning
from deertrack.storage import catalogue, profiles, validations
from deertrack.storage.db import Database
from deertrack.storage.profiles import Coverage
from deertrack.storage.validations import ValidationHead


@dataclass(frozen=True, slots=True)
class VersionState:
    """One embedding version.

    ``coverage`` is None for one that an installed pack brings and nobody used here yet; ``installed`` is False for
    one whose pack is gone. ``role`` is active, previous, challenger or "". ``evidence`` is the newest validation
    against the active version. ``tuning`` is what a cut-over would set unless told otherwise: what the last one
    set, else the weights of the evidence. ``needs_reason``: without a reason, a cut-over would be refused.
    """

    name: str
    stage: int
    pack: str
    installed: bool
    role: str
    coverage: Coverage | None
    evidence: ValidationHead | None
    tuning: Tuning

    @property
    def needs_reason(self) -> bool:
        """Whether a cut-over would be refused without a reason."""
        return not (
            self.coverage and self.coverage.complete and self.evidence and self.evidence.outcome == "pass"
        )


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """All versions by pack and stage, and all validations, newest first.

    ``test`` is the A/B test under way: version, share, since. ``revision`` names what decides now.
    """

    active: str | None
    previous: str | None
    test: Mapping[str, Any] | None
    versions: tuple[VersionState, ...]
    validations: tuple[ValidationHead, ...]
    revision: str


def lifecycle(db: Database, home: Path) -> Lifecycle:
    """What there is now.

    Args:
        home: where packs are installed.
    """
    brought = {
        version.name: version
        for found in installed_packs(home)
        if found.pack
        for version in found.pack.versions
    }
    with db.transaction() as connection:
        active = catalogue.get_setting(connection, catalogue.ACTIVE_VERSION)
        previous = catalogue.get_setting(connection, catalogue.PREVIOUS_VERSION)
        test = catalogue.get_setting(connection, catalogue.AB)
        heads = validations.list_validations(connection)
        known = {r.version.name: r for r in validations.registered_versions(connection)}
        roles = {previous: "previous", test and test["version"]: "challenger", active: "active"}
        states = []
        for version in {**brought, **{name: r.version for name, r in known.items()}}.values():
            name = version.name
            evidence = next((h for h in heads if (h.new_version, h.old_version) == (name, active)), None)
            kept = get_tuning(connection, name)
            weights = Weights(**evidence.weights) if evidence and kept == Tuning() else kept.weights
            states.append(
                VersionState(
                    name,
                    version.stage,
                    version.pack,
                    name in brought,
                    roles.get(name, ""),
                    profiles.coverage(connection, known[name]) if name in known else None,
                    evidence,
                    Tuning(weights, kept.threshold),
                )
            )
        now = revision(connection)
    states.sort(key=lambda state: (state.pack, state.stage))
    return Lifecycle(active, previous, test, tuple(states), tuple(heads), now)
