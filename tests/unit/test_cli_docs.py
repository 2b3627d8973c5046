"""docs/cli.md says what the program does: it is written from it, and somebody has to run the script."""

import re
import runpy
from pathlib import Path

import pytest

from deertrack.settings import Settings

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "write_cli_docs.py"
PAGE = ROOT / "docs" / "cli.md"


def test_the_page_is_what_the_program_says():
    written = runpy.run_path(str(SCRIPT))["markdown"]()
    assert PAGE.read_text(encoding="utf-8") == written, (
        f"run {SCRIPT.relative_to(ROOT)} and commit docs/cli.md"
    )


def test_the_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("DEERTRACK_HOME", "/somewhere/else")
    assert runpy.run_path(str(SCRIPT))["markdown"]() == PAGE.read_text(encoding="utf-8")


def test_every_environment_variable_is_on_the_page_and_no_other():
    named = {
        field.validation_alias or f"DEERTRACK_{name.upper()}" for name, field in Settings.model_fields.items()
    }
    introduction = PAGE.read_text(encoding="utf-8").partition("\n## ")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", introduction, flags=re.MULTILINE)) == named


@pytest.mark.parametrize("command", ["run", "report", "deer rename", "stations shift", "db restore"])
def test_commands_have_a_section_with_usage_and_options(command: str):
    section = PAGE.read_text(encoding="utf-8").split(f"# deertrack {command}\n", 1)[1].partition("\n#")[0]
    assert f"```\ndeertrack {command} [OPTIONS]" in section
    assert "- `--home DIR`: " in section


def test_the_documents_link_to_files_that_exist():
    broken = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken
