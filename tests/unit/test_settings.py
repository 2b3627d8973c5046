"""What a user can set from outside."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from deertrack.domain.errors import InputError
from deertrack.settings import read_settings

VARIABLES = (
    "DATABASE_URL",
    "USE_ENHANCED_REID",
    *(f"DEERTRACK_{n}" for n in ("HOME", "ENGINE", "PRECISION", "THREADS", "API_TOKEN", "HOSTS", "PHOTOS")),
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    settings = read_settings()
    assert settings.home.name == "deertrack"
    assert settings.home.is_absolute()
    assert (settings.database_url, settings.engine, settings.precision) == (None, "auto", "f32")
    assert settings.threads is None


@pytest.mark.parametrize(
    ("text", "flag"), [("true", True), ("TRUE", True), ("false", False), ("False", False), ("", None)]
)
def test_the_specifications_flag(monkeypatch: pytest.MonkeyPatch, text: str, flag: bool | None) -> None:
    monkeypatch.setenv("USE_ENHANCED_REID", text)
    assert read_settings().use_enhanced_reid is flag


def test_a_flag_that_is_no_flag_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_ENHANCED_REID", "maybe")
    with pytest.raises(InputError, match="USE_ENHANCED_REID"):
        read_settings()


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEERTRACK_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/herd")
    monkeypatch.setenv("DEERTRACK_ENGINE", "onnxruntime")
    monkeypatch.setenv("DEERTRACK_THREADS", "3")
    settings = read_settings()
    assert (settings.home, settings.database_url) == (tmp_path, "postgresql://db/herd")
    assert (settings.engine, settings.threads) == ("onnxruntime", 3)


def test_the_command_lines_home_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEERTRACK_HOME", "/elsewhere")
    assert read_settings(tmp_path).home == tmp_path


@pytest.mark.parametrize("home", ["herd", "./herd", "~/herd"])
def test_a_home_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_settings(Path(home)).home == tmp_path / "herd"
    monkeypatch.setenv("DEERTRACK_HOME", home)
    assert read_settings().home == tmp_path / "herd"


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Compose files and scripts write FOO= for what is not set; an empty home must not become this folder."""
    before = read_settings()
    monkeypatch.setenv(name, "")
    assert read_settings() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEERTRACK_ENGINE", "tensorflow"),
        ("DEERTRACK_PRECISION", "f16"),
        ("DEERTRACK_THREADS", "many"),
        ("DEERTRACK_THREADS", "0"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        read_settings()
    assert caught.value.message.startswith(f"environment variable {name}: ")
    assert repr(value) in caught.value.message


@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_value_is_more_than_an_input_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name in ("DEERTRACK_ENGINE", "DEERTRACK_THREADS", "DEERTRACK_PRECISION"):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with suppress(InputError):
                read_settings()
