"""The quality benchmark: its settings are valid for the seeds, and the seeds' own scripts produce its rows."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

from benchmarks import commands, quality
from build.assemble import write

SAMPLE = quality.Case("nlp", "sample", "", ("accuracy", "macro_f1"), "accuracy 0.25 (chance)")


@pytest.mark.parametrize("name", quality.CASES)
def test_the_settings_of_a_case_are_settings_of_its_seed(name, tmp_path):
    case = quality.CASES[name]
    write(quality.assemble(case.variant), tmp_path / "landed")
    quality.edit_settings(tmp_path / "landed/settings.toml", quality.settings_of(case))

    check = [sys.executable, "-c", "from spotkit import settings; settings.load()"]
    done = subprocess.run(check, cwd=tmp_path / "landed", capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


MINILM = tomllib.loads((ROOT / "docs/settings/mtsamples-minilm.toml").read_text())
LONG = {
    "task": {"max_tokens": 2048},
    "model": {"name": "eurobert", "config": {"classifier_pooling": "mean", "num_hidden_layers": 0}},
}


@pytest.mark.parametrize(
    ("variant", "chosen"),
    [("nlp", MINILM), ("nlp", LONG), ("cv", {"model": {"weights": "hub"}})],
    ids=["minilm", "long", "cv"],
)
def test_the_landed_tests_hold_for_pretrained_weights_several_columns_and_many_tokens(variant, chosen, tmp_path):
    write(quality.assemble(variant), tmp_path / "landed")
    quality.edit_settings(tmp_path / "landed/settings.toml", chosen)

    command = [sys.executable, "-m", "pytest", "-q", "tests/test_task.py"]
    done = subprocess.run(
        command, cwd=tmp_path / "landed", capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )

    assert done.returncode == 0, done.stdout


def test_a_row_holds_the_test_figures_beside_the_baseline(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the model is small: more threads would only contend
    chosen = {"training": {"epochs": 1}}

    counts, trained, epochs, minutes, found, stated, plain, above = quality.measure(
        SAMPLE, ROOT / "seed_code/nlp/sample", chosen, tmp_path / "models", tmp_path / "landed"
    )

    assert (trained, epochs) == ("ngrams from scratch", "1")
    assert counts.count(", ") == 2
    assert re.fullmatch(r"\d+\.\d \(\d+\.\d\)", minutes)
    assert found.startswith("accuracy 0.")
    assert stated == "accuracy 0.25 (chance)"
    assert re.fullmatch(r"accuracy 0\.\d+, macro_f1 0\.\d+ \(TF-IDF with logistic regression\)", plain)
    assert re.fullmatch(r"macro_f1 [+-]0\.\d{4} to [+-]0\.\d{4}", above)


def test_a_command_of_a_readme_gets_nothing_of_the_make_that_runs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ONLY", "commands")

    assert commands.run('echo "given: $ONLY"', tmp_path)[3] == "given:"


def test_a_pretrained_model_is_found_inside_its_package(tmp_path):
    weights = tmp_path / "package/model/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()

    assert quality.install_minilm(tmp_path) == weights.parent


def test_data_that_is_not_here_is_named(tmp_path):
    command = [sys.executable, "benchmarks/quality.py", "digits", "--data", str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 2
    assert f"{tmp_path / 'mnist'} is not here: real data is not part of the repository" in done.stderr
