"""``deertrack serve`` and ``deertrack worker``: the long-running processes."""

from contextlib import nullcontext, suppress
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from deertrack import wiring
from deertrack.domain.errors import DeertrackError, InputError
from deertrack.entry.cli.console import err
from deertrack.entry.cli.options import Home, settings_for
from deertrack.services.accounts import anybody
from deertrack.services.versions import active_name

if TYPE_CHECKING:
    from deertrack.entry.web.site import Site


def serve_command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    login: Annotated[
        bool | None,
        typer.Option(
            "--login/--no-login",
            help="Whether to ask on this machine who somebody is. Default: where a token or hosts are set.",
        ),
    ] = None,
    worker: Annotated[
        bool,
        typer.Option("--worker/--no-worker", help="Whether to do queued jobs too, in a process of its own."),
    ] = True,
    home: Home = None,
) -> None:
    """Serve the pages and a JSON API (described by /openapi.json).

    On this machine only and without logging in, unless --host says otherwise. Others log in with an account
    (`deertrack users add`) or send the token that DEERTRACK_API_TOKEN holds; DEERTRACK_HOSTS lists the names
    that the server answers to, as behind a proxy.
    """
    import uvicorn

    from deertrack.entry.web.app import LOOPBACK, make_app
    from deertrack.entry.web.own_worker import own_worker

    settings = settings_for(home)
    asked = settings.login if login is None else login
    local = host in LOOPBACK
    if not local and asked is False:
        raise InputError(
            f"listening on {host} lets others in, so they have to log in",
            hint="Leave out --no-login (DEERTRACK_LOGIN=false), or --host.",
        )
    # Names for this server are set where a proxy lets others in.
    settings.login = not local or bool(settings.api_token or settings.hosts) if asked is None else asked
    with wiring.open_database(settings) as db:
        if settings.login and not settings.api_token and not anybody(db):
            raise InputError(
                "nobody could log in: there is neither an account nor a token",
                hint="Make an account (`deertrack users add NAME --role admin`), or set DEERTRACK_API_TOKEN to a "
                "long random text.",
            )
        settings.hosts = f"{settings.hosts},{host}"
        app = make_app(settings, db, wiring.job_queue(db))
        Thread(target=_get_ready, args=(app.state.site,), daemon=True).start()
        err.print(f"Open http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C stops)")
        with own_worker(settings) if worker else nullcontext():
            # Pages that follow a job hold their connection; they do not hold back the end.
            uvicorn.run(
                app,
                host=host,
                port=port,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=3,
            )


def _get_ready(site: "Site") -> None:
    """Do what the first of many visitors would wait for: load the model's card, count the dashboard."""
    from deertrack.services.dashboard import Asked

    with suppress(DeertrackError):  # whoever asks for it is told
        if active_name(site.db) is not None:
            site.deciding.now()
            site.dashboard.tables(Asked())


def worker_command(
    until_empty: Annotated[bool, typer.Option("--until-empty", help="Stop when no job is left.")] = False,
    owned: Annotated[
        bool, typer.Option("--owned", hidden=True, help="Stop when standard input ends.")
    ] = False,
    home: Home = None,
) -> None:
    """Do queued jobs. Any number of workers, on any number of hosts, may share one database.

    SIGTERM or Ctrl-C: the job in hand is finished first. A killed worker's job is done again by another.
    """
    from deertrack.entry.worker import work

    work(settings_for(home), until_empty=until_empty, owned=owned)
