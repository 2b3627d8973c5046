"""``deertrack reid``: changing the embedding under a live catalogue."""

from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.padding import Padding

from deertrack import wiring
from deertrack.domain.errors import InputError
from deertrack.domain.fusion import Weights
from deertrack.domain.separation import Estimate
from deertrack.domain.verdict import MEASURES, Outcome, percent
from deertrack.entry.cli.calibrate import calibrate_command
from deertrack.entry.cli.cleanup import cleanup_command
from deertrack.entry.cli.console import counted, err, out, print_json, progress_bars, simple_table
from deertrack.entry.cli.monitor import ab_command, monitor_command
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.entry.cli.policy import policy_command
from deertrack.entry.cli.recluster import recluster_command
from deertrack.formats.truth import read_truth
from deertrack.services.lifecycle.cutover import CutOver, cut_over, roll_back
from deertrack.services.lifecycle.reembed import Reembedded, reembed, reembed_plan
from deertrack.services.lifecycle.validate import (
    Findings,
    ValidationReport,
    ValidationRequest,
    as_json,
    validate,
)
from deertrack.services.lifecycle.validation_page import validation_page
from deertrack.services.models import highest_version
from deertrack.services.queue import defer_reembed
from deertrack.services.versions import (
    Tuning,
    active_calibration,
    active_name,
    keep_calibration,
    registered_version,
)
from deertrack.settings import Settings
from deertrack.storage.profiles import Coverage

app = typer.Typer(
    help="Change the embedding under a live catalogue: re-embed, validate, cut over.", no_args_is_help=True
)

_COLOURS = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.UNKNOWN: "yellow"}


def validate_command(
    new: Annotated[
        str | None, typer.Argument(metavar="[NEW]", help="The version to judge. Default: the highest stage.")
    ] = None,
    old: Annotated[
        str | None,
        typer.Option(help="What to compare it with. Default: the active one, or the lowest stage."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV: file, identity. Default: the catalogue's own names."),
    ] = None,
    known: Annotated[int, typer.Option(min=1, help="Deer with 5 or more sightings to look at.")] = 20,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of different deer to look at.")] = 20,
    weights: Annotated[
        str, typer.Option(metavar="A,B", help="Shares of multi-scale and partner vector in an ensemble.")
    ] = "0.6,0.4",
    far: Annotated[float, typer.Option(help="Share of false accepts to propose a threshold for.")] = 0.01,
    bootstrap: Annotated[int, typer.Option(min=100, help="Resamples of the animals for intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed finds the same.")] = 0,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with charts and photos.")
    ] = None,
    json: Json = False,
    home: Home = None,
) -> None:
    """Does a new embedding version tell these deer apart better than the old one, and how sure is that?

    Compares both on sightings whose deer is known, always from different encounters. A rise in similarity
    alone does not pass: different deer may have risen as much. What is found is kept as evidence for a cut-over.

    Example: deertrack reid validate v3_lite --old v1_lite --html validation.html
    """
    request = ValidationRequest(
        new,
        old,
        truth=read_truth(truth) if truth else None,
        weights=_weights(weights),
        known=known,
        pairs=pairs,
        far=far,
        bootstrap=bootstrap,
        seed=seed,
    )
    with wiring.open_database(settings_for(home)) as db, progress_bars(quiet=json) as progress:
        report = validate(db, request, progress=progress)
        page = validation_page(db, report, progress=progress) if html else ""
    if html:
        _write(html, page)
    if json:
        print_json(as_json(report))
        return
    _show(report)
    if html:
        out.print(
            f"Wrote {escape(str(html))} ({len(page) / 1e6:.1f} MB). Open it in a browser.", soft_wrap=True
        )


def reembed_command(
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]",
            help="The version to bring in, e.g. v3_lite; see `models list`. Default: the highest one not in use.",
        ),
    ] = None,
    all_detections: Annotated[
        bool, typer.Option("--all-detections", help="Every detection, not only the best of each deer.")
    ] = False,
    resume: Annotated[  # noqa: ARG001 (always so; the specification's runbook writes it)
        bool, typer.Option("--resume", help="Go on where it stopped. It always does.")
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Individuals at most, in this call.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Individuals a commit.")] = 32,
    workers: Annotated[int | None, typer.Option(min=1, help="CPU threads. Default: all.")] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Leave the work to `deertrack worker`, on any number of hosts.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is left to do.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Embed every known deer with another version, beside the one in use. Nothing that is in use changes.

    For each deer its best detection: highest confidence, then largest box; the next best where that photo
    cannot be read. Stopped at any moment, the same command goes on; what is done is not done again.

    Example: deertrack reid reembed v3_lite --all-detections
    """
    settings = settings_for(home)
    if workers:
        settings.threads = workers
    with wiring.open_database(settings) as db, progress_bars(quiet=json, lines_every=10) as progress:
        version = version or highest_version(settings.home, but=active_name(db))
        pack = wiring.load_pack(settings, db, version)
        target = registered_version(db, pack, version)
        if dry_run:
            _show_plan(reembed_plan(db, target), json=json)
            return
        if queue:
            _show_queued(
                defer_reembed(wiring.job_queue(db), db, target, all_detections=all_detections),
                version,
                json=json,
            )
            return
        done = reembed(
            db,
            lambda: wiring.make_embedder(settings, pack),
            target,
            all_detections=all_detections,
            limit=limit,
            batch=batch_size,
            progress=progress,
        )
    if json:
        print_json(done)
    else:
        _show_reembedded(done)


def cutover_command(
    version: Annotated[str, typer.Argument(help="The version that searches shall use from now on.")],
    weights: Annotated[
        str, typer.Option(metavar="A,B", help="Shares of multi-scale and partner vector in an ensemble.")
    ] = "0.6,0.4",
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Least similarity of an automatic match, e.g. as validate proposes."
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What its similarities mean; kept. Default: the model's own."),
    ] = None,
    ab: Annotated[
        float,
        typer.Option(metavar="SHARE", help="A/B test: only this share of the encounters, e.g. 0.5."),
    ] = 1.0,
    reason: Annotated[
        str,
        typer.Option(help="Why to go on without full coverage or a passing validation; kept in the history."),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Let searches use another version. Running workers take it up by themselves; names and sightings stay.

    Refuses while a deer lacks its vectors (`reid reembed`) or no validation of it passed (`reid validate`).
    With --ab both versions decide, each about its share of the encounters; `reid ab` compares them. `reid
    rollback` goes back at any time.

    Example: deertrack reid cutover v3_lite --ab 0.5
    """
    settings = settings_for(home)
    tuning = Tuning(_weights(weights), threshold)
    with wiring.open_database(settings) as db:
        pack = wiring.load_pack(settings, db, version)
        target = registered_version(db, pack, version)
        if calibration:
            keep_calibration(db, calibration, [target.version])
        active_calibration(db, target.version, pack)  # without one nothing could be decided
        if not (yes or json):
            typer.confirm(
                f"Let {'all' if ab >= 1 else f'{ab:.0%} of the'} encounters use {version}?", abort=True
            )
        done = cut_over(db, target, tuning=tuning, reason=reason.strip(), actor=getuser(), share=ab)
    _show_cut_over(done, json=json)
    _warn_of_flag(settings, json=json)


def rollback_command(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Go back to the version that the last cut-over left, or end an A/B test. Nothing is lost.

    The older version's vectors were never touched. Takes seconds, and running workers notice by themselves.
    """
    settings = settings_for(home)
    with wiring.open_database(settings) as db:
        if not (yes or json):
            typer.confirm("Go back to the embedding version before the last cut-over?", abort=True)
        done = roll_back(db, actor=getuser())
    _show_cut_over(done, json=json)
    _warn_of_flag(settings, json=json)


def _show_cut_over(done: CutOver, *, json: bool) -> None:
    if json:
        print_json(done)
        return
    if done.share < 1:
        out.print(
            f"{done.share:.0%} of the encounters use [bold]{escape(done.version)}[/] now, the rest "
            f"{escape(str(done.before))}. Compare them: deertrack reid ab"
        )
    else:
        no_longer = f", no longer {escape(done.before)}" if done.before else ""
        out.print(f"Searches use [bold]{escape(done.version)}[/] now{no_longer}.")
    out.print(f"{counted(done.profiles, 'profile')} changed.")
    if done.invisible:
        out.print(
            f"[bold red]{counted(done.invisible, 'individual')} lack this version's vectors.[/] Those whose photos "
            "can be read come back with the next `deertrack run`, or now: "
            f"deertrack reid reembed {escape(done.version)}"
        )


def _warn_of_flag(settings: Settings, *, json: bool) -> None:
    if settings.use_enhanced_reid is not None and not json:
        out.print(
            f"[yellow]USE_ENHANCED_REID={str(settings.use_enhanced_reid).lower()} is set here and outranks this[/] "
            "in every process that has it. Unset it where the cut-over shall count."
        )


def _show_queued(jobs: list[int], version: str, *, json: bool) -> None:
    if json:
        print_json({"jobs": jobs})
        return
    out.print(
        f"{counted(len(jobs), 'job')} queued. They are done by `deertrack worker`, on as many hosts as have it."
    )
    out.print(f"How far it is: deertrack reid reembed {escape(version)} --dry-run")


def _show_plan(before: Coverage, *, json: bool) -> None:
    if json:
        print_json(before)
        return
    out.print(
        f"{counted(before.deer, 'individual')}, {before.embedded:,} of them have this version's vectors."
    )
    out.print(f"{before.deer - before.embedded:,} are left to embed.")


def _show_reembedded(done: Reembedded) -> None:
    for problem in done.problems:
        err.print(f"  {escape(problem.path)}: {escape(problem.reason)}", soft_wrap=True)
    table = simple_table("", "#")
    for label, count in (
        ("Individuals", done.deer),
        ("  had vectors already", done.done_before),
        ("  embedded now", done.embedded),
        ("  of these with a next-best photo", done.fell_back),
        ("  without a readable photo", done.without),
        ("Profiles filled", done.profiles),
        ("Detections embedded", done.detections),
    ):
        table.add_row(label, f"{count:,}")
    out.print(table)
    if done.staged:
        out.print("The active version searches the same columns, so profiles wait for the cut-over.")
    out.print(f"Next: [bold]deertrack reid validate {escape(done.version)}[/]")


def _weights(text: str) -> Weights:
    try:
        multiscale, partner = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"expected two weights with a comma between, such as 0.6,0.4, got {text!r}"
        ) from None
    return Weights(multiscale, partner)


def _write(file: Path, page: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None


def _show(report: ValidationReport) -> None:
    data = report.data
    out.print(f"[bold]{escape(report.new)} against {escape(report.old)}[/]")
    out.print(
        f"{data['deer']:,} deer, {data['deer_seen_again']:,} of them seen in two or more encounters; "
        f"{data['sightings']:,} sightings; {data['same_pairs']:,} pairs of one deer and "
        f"{data['different_pairs']:,} of two, all from different encounters.\n"
    )
    if report.findings:
        _show_findings(report, report.findings)
    out.print("[bold]What the specification asks[/]")
    for criterion in report.criteria:
        out.print(f"{_coloured(criterion.outcome)}: {criterion.name} ({criterion.expected})")
        for line in filter(None, (criterion.found, criterion.remark)):
            out.print(Padding(escape(line), (0, 0, 0, 6)))
    out.print()
    for caution in report.cautions:
        out.print(f"[yellow]Keep in mind:[/] {escape(caution)}")
    out.print(f"\n[bold]Outcome: {_coloured(report.outcome)}[/]\n{escape(report.verdict.sentence)}")
    out.print(f"Kept as validation {report.id}.")


def _show_findings(report: ValidationReport, findings: Findings) -> None:
    table = simple_table(
        "Telling deer apart", f"{report.old}#", f"{report.new}#", "Difference (95 %)#", "Better in#"
    )
    for name, label in MEASURES.items():
        figure = findings.measures[name]
        plain = "{:.3f}" if name in ("auc", "d_prime") else "{:.1%}"
        difference = _interval(figure.difference, plain.replace(":", ":+"))
        values = (plain.format(e.value) for e in (figure.old, figure.new))
        table.add_row(label, *values, difference, percent(figure.better))
    out.print(table)
    shift = findings.shift
    out.print(
        f"\nMean similarity: same deer {shift.same_old:.3f} to {shift.same_new:.3f} ({shift.same_rise:+.3f}), "
        f"different deer {shift.different_old:.3f} to {shift.different_new:.3f} ({shift.different_rise:+.3f})"
        + (
            f"; {percent(shift.mere_shift)} of the rise is mere shift."
            if shift.mere_shift is not None
            else "."
        )
    )
    row = next(row for row in findings.thresholds if row.far == report.far)
    out.print(
        f"Threshold for {percent(row.far)} false accepts: {_interval(row.threshold, '{:.3f}')}; it accepts "
        f"{percent(row.tar)} of true matches."
    )
    if findings.weights:
        used, best = findings.weights.used, findings.weights.best
        gain = _interval(findings.weights.gain, "{:+.4f}")
        out.print(
            f"Weights: {used:.1f}/{1 - used:.1f} in use, {best:.1f}/{1 - best:.1f} best here, AUC {gain}."
        )
    failures = findings.failures
    out.print(
        f"Confusions at rank 1: {failures.now} new, {failures.gone} gone, {failures.still} with both (--html shows "
        "them, --json lists them).\n"
    )


def _interval(figure: Estimate, form: str) -> str:
    value = form.format(figure.value)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({form.format(figure.low)} to {form.format(figure.high)})"


def _coloured(outcome: Outcome) -> str:
    return f"[{_COLOURS[outcome]}]{outcome}[/]"


# In the order in which an operator meets them.
app.command("reembed")(reembed_command)
app.command("validate")(validate_command)
app.command("cutover")(cutover_command)
app.command("ab")(ab_command)
app.command("monitor")(monitor_command)
app.command("rollback")(rollback_command)
app.command("cleanup")(cleanup_command)
app.command("calibrate")(calibrate_command)
app.command("policy")(policy_command)
app.command("recluster")(recluster_command)
