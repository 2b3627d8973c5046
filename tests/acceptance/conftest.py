"""deertrack as a user runs it: the command in a process of its own, a drawn herd, fresh databases."""

import importlib.util
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from deertrack.entry.cli import console
from deertrack.entry.cli.main import main
from deertrack.storage.server import EmbeddedServer
from deertrack.vision.sample_herd import HerdPlan, HerdSummary, draw_herd

PLAN = HerdPlan(seed=11, individuals=4, stations=2, days=6, visits=7)

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def clean_environment(**extra: str) -> dict[str, str]:
    """This environment without what deertrack reads, and with what is given."""
    kept = {k: v for k, v in os.environ.items() if k != "DATABASE_URL" and not k.startswith("DEERTRACK_")}
    kept["DEERTRACK_PACK"] = "lite"  # quick, and never trained: what tests expect of it stays
    return {**kept, "COLUMNS": "200", **extra}


@pytest.fixture(scope="session")
def kill_resume() -> ModuleType:
    """benchmarks/kill_resume.py, which knows how to kill a run and how to compare two catalogues."""
    path = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"
    spec = importlib.util.spec_from_file_location("kill_resume", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def catalogue_content(kill_resume: ModuleType) -> Callable[[str], dict[str, Any]]:
    """All that a catalogue says, by table, without row numbers and dates of entry."""
    content: Callable[[str], dict[str, Any]] = kill_resume.catalogue_content
    return content


@pytest.fixture(scope="session")
def start() -> Callable[..., "subprocess.Popen[str]"]:
    """Start ``python -m deertrack`` in a process of its own; environment variables as keywords."""

    def run(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "deertrack", *map(str, arguments)],
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A suite that runs in the background inherits that Ctrl-C is ignored, and would pass it on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (no threads yet)
        )

    return run


@pytest.fixture(scope="session")
def deertrack(start: Callable[..., "subprocess.Popen[str]"]) -> Run:
    """The same, waiting for its end. It may fail, but never with a traceback."""

    def run(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        process = start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        assert "a bug in deertrack" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The same command within this process, which is quicker; ``url`` is DATABASE_URL, others as keywords."""
    for name in [n for n in os.environ if n == "DATABASE_URL" or n.startswith("DEERTRACK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DEERTRACK_PACK", "lite")
    for terminal in (console.out, console.err):
        monkeypatch.setattr(terminal, "width", 200)

    def run(*arguments: object, url: str = "", **environment: str) -> Said:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["deertrack", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.StringIO())  # nobody there to answer
            for name, value in {"DATABASE_URL": url, **environment}.items():
                patch.setenv(name, value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as caught:
                main()
        said = capsys.readouterr()
        assert "a bug in deertrack" not in said.err, said.err
        return Said(int(caught.value.code or 0), said.out, said.err)

    return run


@pytest.fixture(scope="session")
def herd(tmp_path_factory: pytest.TempPathFactory) -> HerdSummary:
    """A few drawn animals at two stations."""
    return draw_herd(tmp_path_factory.mktemp("herd") / "drawn", PLAN)


@pytest.fixture(scope="session")
def herd_options(herd: HerdSummary) -> list[str]:
    """What to tell ``deertrack run`` about the herd."""
    return [
        str(herd.cards),
        *("--detections", str(herd.detections)),
        *("--calibration", str(herd.calibration)),
    ]


@pytest.fixture(scope="session")
def identified(server_url: str, template: str, deertrack: Run, herd_options: list[str]) -> str:
    """The name of a database in which the herd was identified; others are copied from it."""
    name = f"herd_{uuid4().hex[:12]}"
    create(server_url, name, template)
    done = deertrack("run", *herd_options, DATABASE_URL=make_conninfo(server_url, dbname=name))
    assert done.returncode == 0, done.stderr
    return name


@pytest.fixture
def herd_url(server_url: str, identified: str) -> Iterator[str]:
    """A catalogue of its own with the herd in it."""
    name = f"test_{uuid4().hex[:12]}"
    create(server_url, name, identified)
    yield make_conninfo(server_url, dbname=name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose server is stopped at the end, come what may."""
    folder = tmp_path / "home"
    yield folder
    EmbeddedServer(folder).stop(mode="immediate")


def create(server_url: str, name: str, template: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
