"""Edits in spotkit/ are found, and an ejected module takes the place of the package's."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spotkit import manifest


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of this repository without its own edits and ejected modules."""
    for name in ("spotkit", "settings.toml", "SEED"):
        source = manifest.ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "src").mkdir()
    shutil.copy(manifest.ROOT / "src/task.py", tmp_path / "src")
    return tmp_path


def test_every_kind_of_edit_is_found(repository):
    before = manifest.edited(repository)
    with (repository / "spotkit/settings.py").open("a") as file:
        file.write("# ours\n")
    (repository / "spotkit/ours.py").touch()
    (repository / "spotkit/jobs/meeting.py").unlink()

    after = manifest.edited(repository)

    ours = ["spotkit/jobs/meeting.py: removed", "spotkit/ours.py: added", "spotkit/settings.py: changed"]
    assert sorted({*after} - {*before}) == ours


def test_an_ejected_module_takes_precedence(repository):
    path = manifest.eject("evaluation.metrics", repository)
    path.write_text(path.read_text() + "\nprint('ours')\n")

    done = subprocess.run(
        [sys.executable, "-c", "import spotkit.evaluation.metrics"], cwd=repository, capture_output=True, text=True
    )

    assert done.stdout == "ours\n"
    assert manifest.ejected(repository) == ["spotkit/evaluation/metrics.py"]
    with pytest.raises(ValueError, match="is there already"):
        manifest.eject("evaluation.metrics", repository)


def test_a_module_that_is_not_there_is_refused_with_those_that_are(repository):
    with pytest.raises(
        ValueError, match="there is no module 'training.loop' in spotkit/. Choose one of: checks.__main__"
    ):
        manifest.eject("training.loop", repository)
