"""Every speed benchmark runs and prints its rows. No test asserts how fast anything is."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT, make

from benchmarks import rehearsal_speed
from benchmarks.__main__ import SPEEDS

ROWS = {
    "functions": ["model out of botocore", "ours: model cut when packaged", "50 steps"],
    "text_training": ["made up"],
    "tokenising": ["made up"],
    "image_input": ["originals: open, decode, augment, normalise", "ours, random_zoom = 0", "preprocessing, once"],
    "scaling": ["nlp", "cv", "target"],
    "checkpointing": ["torch.save and fsync, waited for", "ours"],
    "gpu_training": ["DistilBERT, hate_tweets", "DistilBERT, womens_reviews", "ResNet-50"],
}


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    """Return what each benchmark prints, by name."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"(?ms)^## (\w+)\n(.*?)(?=^## |\Z)", done.stdout))


@pytest.mark.parametrize("name", SPEEDS)
def test_a_benchmark_shows_its_rows(shown, name):
    if "There is no GPU on this machine" in shown[name]:
        pytest.skip("no GPU, and the benchmark says so")

    assert set(ROWS[name]) <= set(re.findall(r"(?m)^\| (.*?) \|", shown[name]))


def test_what_the_runner_adds_to_a_job_and_the_writing_of_a_definition_are_measured():
    """test_rehearsal.py checks the figures of a full rehearsal, since it runs one anyway."""
    assert rehearsal_speed.step_overhead_seconds() > 0
    assert rehearsal_speed.definition_seconds("nlp") > 0


def test_a_benchmark_that_does_not_exist_is_refused_with_those_that_do():
    done = make("benchmark", "ONLY=speed")

    assert "no benchmark is called speed. Choose one of: rehearsal_speed, functions, text_training" in done.stderr
