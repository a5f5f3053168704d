"""The sample, prepared once for all tests."""

import json
from pathlib import Path

import pytest

import preprocess

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    preprocess.main(["--data", str(ROOT / "sample"), "--output", str(folder)])
    return folder


@pytest.fixture(scope="session")
def report(prepared: Path) -> dict:
    return json.loads((prepared / "report/data.json").read_text())
