"""The definition: written twice the same, and changed only by what it is made of."""

import json
import subprocess
import sys
from pathlib import Path

import bundle

ROOT = Path(__file__).parent.parent


def test_the_definition_has_the_steps_that_the_readme_names():
    written = subprocess.run([sys.executable, ROOT / "pipeline.py"], capture_output=True, text=True, check=True).stdout

    names = [step["Name"] for step in json.loads(written)["Steps"]]
    assert names in (
        ["Preprocess", "Train", "Evaluate", "Gate"],
        ["Preprocess", "Train", "TrainOnDemand", "Evaluate", "Gate"],
    )


def test_each_step_gets_the_files_that_its_script_imports_and_no_others():
    assert set(bundle.code("evaluate").files) == {
        "evaluate.py", "examples.py", "job.py", "metrics.py", "requirements.txt", "settings.json", "settings.py",
        "start.py", "task.py",
    }  # fmt: skip
