"""Write docs/cli.md from the command line itself, so that the two never differ.

.venv/bin/python scripts/write_cli_docs.py
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from deertrack.entry.cli.main import app

TARGET = Path(__file__).parents[1] / "docs" / "cli.md"

_INTRODUCTION = """\
<!-- Written by scripts/write_cli_docs.py from the program itself. Do not edit; run the script again. -->

# Commands

After `make run` or `make test` the command is `.venv/bin/deertrack`. `deertrack COMMAND --help` shows the same
as this page.

Results go to standard output; progress, warnings and errors go to standard error.

| Exit status | Meaning |
|---|---|
| 0 | done; single photos that could not be used are listed, and counted |
| 1 | an error that the message explains; what was done before it is kept |
| 2 | the command line itself is wrong (unknown option, missing argument) |
| 3 | `run --strict`: done, and something could not be used |
| 70 | a bug in deertrack; the message names a file with the details |
| 130 | stopped with Ctrl-C; run the same command again to go on |

| Environment variable | Meaning |
|---|---|
| `DEERTRACK_HOME` | where the data lives; `--home` outranks it |
| `DATABASE_URL` | a PostgreSQL server of your own, in place of the embedded one |
| `USE_ENHANCED_REID` | `true` or `false`: the enhanced or the single-layer version decides; outranks a cut-over |
| `DEERTRACK_PACK` | the pack that a fresh catalogue begins with: `nyala` (default), `lite`, or one of yours |
| `DEERTRACK_ENGINE` | what runs the model: `auto` (default), `openvino` or `onnxruntime` |
| `DEERTRACK_PRECISION` | `f32` (default), or `bf16`: faster on CPUs that compute in it, OpenVINO only |
| `DEERTRACK_THREADS` | CPU threads for the model, 1 to 256; default: all |
| `DEERTRACK_API_TOKEN` | `serve`: a bearer token that may do everything; 16 characters or more |
| `DEERTRACK_HOSTS` | `serve`: names that it answers to besides this machine's own, with commas between them |
| `DEERTRACK_LOGIN` | `serve`: `true` or `false`, as `--login` and `--no-login` say |
| `DEERTRACK_HTTPS` | `serve`: `true` where a proxy gives people https; cookies then go by https only |
| `DEERTRACK_PHOTOS` | `serve`: the only folder that runs asked for over HTTP may read |
"""


def markdown() -> str:
    """The whole page. It does not depend on the terminal, the user or the machine."""
    root = typer.main.get_command(app)
    return "\n".join([_INTRODUCTION, *_sections(root, typer.Context(root, info_name="deertrack"))])


def _sections(command: Any, context: typer.Context) -> Iterator[str]:
    """One section for a command that does something, or all of a group's, each ending in a blank line."""
    subcommands = getattr(command, "commands", None)
    level = len(context.command_path.split())
    if level > 1:
        yield f"{'#' * level} {context.command_path}\n"
    if not subcommands:
        yield f"```\n{context.command_path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    if level > 1:
        yield _text(command.help) + "\n"
    if subcommands:
        for name, subcommand in subcommands.items():
            yield from _sections(subcommand, typer.Context(subcommand, info_name=name, parent=context))
        return
    records = [p.get_help_record(context) for p in command.get_params(context) if p.name != "help"]
    yield "\n".join(f"- `{usage}`: {meaning.strip()}" for usage, meaning in filter(None, records)) + "\n"


def _text(help_text: str) -> str:
    """A command's help as Markdown: its examples become code."""
    paragraphs = []
    for paragraph in help_text.split("\n\n"):
        start, example, code = paragraph.partition("Example: ")
        paragraphs.append(f"Example:\n\n```\n{code}\n```" if example and not start else paragraph)
    return "\n\n".join(paragraphs)


if __name__ == "__main__":
    TARGET.write_text(markdown(), encoding="utf-8")
    print(f"Wrote {TARGET}")
