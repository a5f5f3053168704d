"""Fixtures: a little data as settings.toml describes it, prepared once for all tests."""

import json
from pathlib import Path

import pytest

import task
import tiny
from spotkit import settings
from spotkit.data import preprocess


def pytest_sessionstart() -> None:
    """Stop at an invalid setting: every test would fail because of it, and its message would be buried."""
    try:
        settings.check_section("task", settings.load()["task"], task.SETTINGS)
    except ValueError as error:
        pytest.exit(f"error: {error}", returncode=1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    tiny.write_data(folder, settings.load())
    return folder


@pytest.fixture(scope="session")
def prepared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    preprocess.main(["--data", str(data), "--output", str(folder)])
    return folder


@pytest.fixture(scope="session")
def report(prepared: Path) -> dict:
    return json.loads((prepared / "report/data.json").read_text())
