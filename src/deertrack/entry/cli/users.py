"""``deertrack users``: who may use a catalogue that is served to others."""

import sys
from getpass import getuser
from typing import Annotated

import typer
from rich.markup import escape

from deertrack import wiring
from deertrack.domain.accounts import parse_role
from deertrack.entry.cli.console import local_time, out, print_json, simple_table
from deertrack.entry.cli.options import Home, Json, settings_for
from deertrack.services import accounts

app = typer.Typer(
    help="Accounts of those who use `deertrack serve`: viewers, reviewers, admins.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="An account's name, in any case.")]
Stdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, for scripts.")
]


@app.command("add")
def add_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 40 characters; must be free.")],
    role: Annotated[str, typer.Option(help="viewer, reviewer or admin.")] = "viewer",
    password_stdin: Stdin = False,
    home: Home = None,
) -> None:
    """Make an account. A viewer looks, a reviewer decides who a deer is, an admin does everything.

    Example: deertrack users add Ada --role reviewer
    """
    rank = parse_role(role)
    password = _password(password_stdin)
    with wiring.open_database(settings_for(home)) as db:
        user = accounts.add_user(db, name, rank, password, actor=getuser())
    out.print(f"{escape(user.name)} can log in as {user.role.word}.")


@app.command("list")
def list_command(json: Json = False, home: Home = None) -> None:
    """Show all accounts."""
    with wiring.open_database(settings_for(home)) as db:
        users = accounts.list_users(db)
    if json:
        print_json(
            [
                {
                    "name": user.name,
                    "role": user.role.word,
                    "enabled": user.enabled,
                    "created_at": user.created_at,
                    "seen_at": user.seen_at,
                }
                for user in users
            ]
        )
        return
    table = simple_table("Name", "Role", "Enabled", "Last seen (UTC)")
    for user in users:
        table.add_row(
            escape(user.name), user.role.word, "yes" if user.enabled else "no", local_time(user.seen_at)
        )
    out.print(table)
    if not users:
        out.print("Nobody yet. `deertrack users add NAME --role admin` makes the first account.")


@app.command("role")
def role_command(
    name: Name,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, reviewer or admin.")],
    home: Home = None,
) -> None:
    """Give an account another role. It has to log in again."""
    rank = parse_role(role)
    with wiring.open_database(settings_for(home)) as db:
        user = accounts.change_user(db, accounts.find_user(db, name).id, role=rank, actor=getuser())
    out.print(f"{escape(user.name)} is {user.role.word} now.")


@app.command("password")
def password_command(name: Name, password_stdin: Stdin = False, home: Home = None) -> None:
    """Give an account another password. Its browsers are logged out; its tokens stay."""
    with wiring.open_database(settings_for(home)) as db:
        user = accounts.find_user(db, name)  # before anybody types a password in vain
        accounts.change_user(db, user.id, password=_password(password_stdin), actor=getuser())
    out.print(f"{escape(user.name)} has a new password.")


@app.command("disable")
def disable_command(name: Name, home: Home = None) -> None:
    """Keep an account out: its sessions and tokens end. What it did stays in the history."""
    with wiring.open_database(settings_for(home)) as db:
        user = accounts.change_user(db, accounts.find_user(db, name).id, enabled=False, actor=getuser())
    out.print(f"{escape(user.name)} cannot log in any more.")


@app.command("enable")
def enable_command(name: Name, home: Home = None) -> None:
    """Let an account in again."""
    with wiring.open_database(settings_for(home)) as db:
        user = accounts.change_user(db, accounts.find_user(db, name).id, enabled=True, actor=getuser())
    out.print(f"{escape(user.name)} can log in again.")


@app.command("token")
def token_command(
    name: Name,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="So long it works. Default: until it is revoked.")
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    home: Home = None,
) -> None:
    """Make a token with which a script may do what the account may. It is printed once.

    Example: deertrack users token Ada --days 90 --label "nightly import"
    """
    with wiring.open_database(settings_for(home)) as db:
        user = accounts.find_user(db, name)
        token = accounts.make_token(db, user.id, label=label, days=days, actor=getuser())
    out.print(token.secret, soft_wrap=True)


@app.command("tokens")
def tokens_command(json: Json = False, home: Home = None) -> None:
    """Show all tokens that work, without their secrets."""
    with wiring.open_database(settings_for(home)) as db:
        tokens = accounts.list_tokens(db)
    if json:
        print_json(tokens)
        return
    table = simple_table("ID#", "Account", "Label", "Made (UTC)", "Works until (UTC)", "Last used (UTC)")
    for token in tokens:
        times = (local_time(at) for at in (token.created_at, token.expires_at, token.used_at))
        table.add_row(str(token.id), escape(token.owner), escape(token.label), *times)
    out.print(table)


@app.command("revoke")
def revoke_command(
    token: Annotated[int, typer.Argument(metavar="ID", min=1, help="As `users tokens` shows it.")],
    home: Home = None,
) -> None:
    """End a token."""
    with wiring.open_database(settings_for(home)) as db:
        accounts.revoke_token(db, token, actor=getuser())
    out.print(f"Token {token} works no more.")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
