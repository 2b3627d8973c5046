"""The ``deertrack`` command: its subcommands, and how errors reach a person."""

import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import __version__
from deertrack.domain.errors import DeertrackError
from deertrack.entry.cli import (
    db,
    deer,
    history,
    models,
    reid,
    report,
    review,
    sample,
    serve,
    stations,
    status,
    train,
    users,
)
from deertrack.entry.cli.console import err, out
from deertrack.entry.cli.evaluate import evaluate_command
from deertrack.entry.cli.run import run_command

app = typer.Typer(
    name="deertrack",
    help="Which individual deer is this, and have we seen it before?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run_command)
app.command("report")(report.report_command)
app.command("evaluate")(evaluate_command)
app.command("sample")(sample.sample_command)
app.command("status")(status.status_command)
app.command("serve")(serve.serve_command)
app.command("worker")(serve.worker_command)
app.add_typer(deer.app, name="deer")
app.add_typer(review.app, name="review")
app.add_typer(history.app, name="history")
app.add_typer(stations.app, name="stations")
app.add_typer(models.app, name="models")
app.add_typer(train.app, name="train")
app.add_typer(db.app, name="db")
app.add_typer(reid.app, name="reid")
app.add_typer(users.app, name="users")


def _version(asked: bool) -> None:
    if asked:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_INTERRUPTED = 130


def main() -> None:
    """Run the command line. A person sees a sentence and what to do, never a traceback."""
    try:
        # Not standalone, so that errors come here. Of Ctrl-C typer leaves but the exit code.
        code = app(standalone_mode=False) or 0
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except typer.TyperException as error:
        if message := error.format_message():  # empty after a help page
            err.print(f"[bold red]Error:[/] {escape(message)}", soft_wrap=True)
        sys.exit(error.exit_code)
    except DeertrackError as error:
        err.print(f"[bold red]Error:[/] {escape(error.message)}", soft_wrap=True)
        if error.hint:
            err.print(escape(error.hint), soft_wrap=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        err.print("\nStopped. What is done is kept; run the same command again to go on.")
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        sys.exit(141)  # the reader of our output went away (`| head`)
    except Exception as error:  # noqa: BLE001 (the last line of defence)
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        log = Path(gettempdir(), f"deertrack-crash-{stamp}.txt")
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        err.print(f"[bold red]Error:[/] a bug in deertrack: {escape(str(error) or type(error).__name__)}")
        err.print(f"Nothing that was done is lost. Please report it with the file {log}", soft_wrap=True)
        sys.exit(70)
