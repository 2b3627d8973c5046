"""Embedding versions: validations, cut-over and roll-back."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from deertrack import wiring
from deertrack.domain.fusion import Weights
from deertrack.entry.web.access import Admin, Viewer
from deertrack.entry.web.once import Once
from deertrack.entry.web.parameters import IfMatch, revision, tag
from deertrack.entry.web.site import Site
from deertrack.services.lifecycle.cutover import CutOver, cut_over, roll_back
from deertrack.services.lifecycle.overview import lifecycle
from deertrack.services.versions import Tuning, active_calibration, registered_version


class CutOverOrder(BaseModel):
    """Which version shall decide, about which share of the encounters."""

    version: str = Field(min_length=1, max_length=20)
    share: float = Field(default=1.0, gt=0, le=1, description="Below 1 it is an A/B test.")
    multiscale: float = Field(default=0.6, ge=0, le=1, description="Weight; the partner has the rest.")
    threshold: float | None = Field(default=None, ge=-1, le=1, description="Least similarity of a match.")
    reason: str = Field(default="", max_length=1000, description="Why to go on without full evidence.")


def routes(site: Site) -> APIRouter:
    """Routes of the lifecycle."""
    router = APIRouter()

    @router.get("/api/v1/versions")
    def show(response: Response, _: Viewer) -> dict[str, Any]:
        """All versions, which one decides, and the evidence."""
        found = lifecycle(site.db, site.settings.home)
        tag(response, found.revision)
        told = asdict(found)
        for state, version in zip(told["versions"], found.versions, strict=True):
            state["needs_reason"] = version.needs_reason
        return told

    @router.post("/api/v1/cutovers", dependencies=[Once])
    def change(order: CutOverOrder, who: Admin, if_match: IfMatch = None) -> CutOver:
        """Let searches use another version, or try it on a share of the encounters (A/B test)."""
        pack = wiring.load_pack(site.settings, site.db, order.version)
        target = registered_version(site.db, pack, order.version)
        active_calibration(site.db, target.version, pack)  # without one nothing could be decided
        return cut_over(
            site.db,
            target,
            tuning=Tuning(Weights(order.multiscale, 1 - order.multiscale), order.threshold),
            reason=order.reason.strip(),
            actor=who.name,
            share=order.share,
            expected=revision(if_match),
        )

    @router.post("/api/v1/rollbacks", dependencies=[Once])
    def back(who: Admin, if_match: IfMatch = None) -> CutOver:
        """End the A/B test that is under way, else go back to the version before the last cut-over."""
        return roll_back(site.db, actor=who.name, expected=revision(if_match))

    return router
