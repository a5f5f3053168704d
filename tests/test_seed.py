"""The tests of spotkit, which stay in this repository, run in a landed repository: tests/seed/common and the variant's."""

import os
import shutil
import subprocess
import sys

import pytest

from build import ROOT, VARIANTS
from build.assemble import assemble, write


@pytest.mark.parametrize("variant", VARIANTS)
def test_spotkit_passes_its_tests_in_a_landed_repository(variant, tmp_path):
    landed = tmp_path / "landed"
    write(assemble(variant), landed)
    for name in ("common", variant):
        shutil.copytree(ROOT / "tests/seed" / name, landed / "tests/spotkit", dirs_exist_ok=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests"], cwd=landed, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
