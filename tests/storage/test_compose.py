"""docker-compose.yml: accepted by Docker Compose, and careful with the password and the photos."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
PASSWORD = "p@s:/$1 ü"


def compose() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            works = subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
            if works:
                return command
    pytest.skip("Docker Compose is not installed here")


def config(folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    for name in ("docker-compose.yml", "Dockerfile"):
        shutil.copy(PROJECT / name, folder)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)} | variables
    command = [*compose(), "config", *(["--format=json"] if "docker" in compose() else [])]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def parsed(text: str) -> dict[str, Any]:
    try:
        services = json.loads(text)["services"]
    except json.JSONDecodeError:  # version 1 prints YAML
        yaml = pytest.importorskip("yaml", reason="to read what docker-compose 1 prints")
        services = yaml.safe_load(text)["services"]
    assert isinstance(services, dict)
    return services


def test_compose_refuses_to_start_without_a_password(tmp_path: Path) -> None:
    done = config(tmp_path)
    assert done.returncode != 0
    assert "set POSTGRES_PASSWORD" in done.stderr


def test_compose_file_is_accepted(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DEERTRACK_API_TOKEN=0123456789abcdef\n")
    done = config(tmp_path, POSTGRES_PASSWORD=PASSWORD, PHOTOS="/srv/cards")
    assert done.returncode == 0, done.stderr
    services = parsed(done.stdout)
    assert set(services) == {"db", "api", "worker"}
    for name in ("api", "worker"):
        environment = services[name]["environment"]
        assert environment["PGPASSWORD"].replace("$$", "$") == PASSWORD
        assert PASSWORD not in environment["DATABASE_URL"]
        assert environment["DEERTRACK_API_TOKEN"] == "0123456789abcdef"
        (photos,) = [volume for volume in services[name]["volumes"] if "/photos" in str(volume)]
        assert photos == "/srv/cards:/photos:ro" or photos["read_only"] is True
    assert "ports" not in services["db"]
