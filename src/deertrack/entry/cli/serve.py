"""``deertrack serve`` and ``deertrack worker``: the long-running processes."""

from typing import Annotated

import typer

from deertrack import wiring
from deertrack.domain.errors import InputError
from deertrack.entry.cli.console import err
from deertrack.entry.cli.options import Home, settings_for


def serve_command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    home: Home = None,
) -> None:
    """Serve the report page and a JSON API (described by /openapi.json).

    On this machine only, unless --host says otherwise; then every request needs the token that
    DEERTRACK_API_TOKEN holds, and DEERTRACK_HOSTS must list the names that the server answers to.
    """
    import uvicorn

    from deertrack.entry.web.app import LOOPBACK, make_app

    settings = settings_for(home)
    if host not in LOOPBACK and not settings.api_token:
        raise InputError(
            f"listening on {host} lets others in, so a token is needed",
            hint="Set DEERTRACK_API_TOKEN to a long random text, or leave --host out.",
        )
    with wiring.open_database(settings) as db:
        app = make_app(settings, db, wiring.job_queue(db))
        err.print(f"Open http://{host}:{port} (Ctrl-C stops)")
        uvicorn.run(app, host=host, port=port, log_level="warning")


def worker_command(
    until_empty: Annotated[bool, typer.Option("--until-empty", help="Stop when no job is left.")] = False,
    home: Home = None,
) -> None:
    """Do queued jobs. Any number of workers, on any number of hosts, may share one database.

    SIGTERM or Ctrl-C: the job in hand is finished first. A killed worker's job is done again by another.
    """
    from deertrack.entry.worker import work

    work(settings_for(home), until_empty=until_empty)
