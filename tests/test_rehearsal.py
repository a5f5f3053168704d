"""The complete rehearsal, as a user runs it: both variants, the later scenarios, Ctrl-C, and real data."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from conftest import ROOT, SHARED, make, networks_are_permitted, wait_for
from test_surroundings import HOSTILE

from benchmarks import rehearsal_speed

VARIANTS = ("nlp", "cv")


def left_in(folder: Path) -> tuple[set[str], list[Path]]:
    """Return the processes and the folders of rehearsals whose TMPDIR is `folder`."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return {line for line in listed.splitlines() if str(folder) in line}, list(folder.glob("rehearsal-*"))


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> str:
    """Run `make rehearse` in a hostile environment; return what it prints. Nothing of it may be left."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "config").write_text("[default]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9\n")
    theirs = {name: value for name, value in HOSTILE.items() if "proxy" not in name.lower()}  # builds use the proxy
    done = make("rehearse", TMPDIR=str(folder), AWS_CONFIG_FILE=str(folder / "config"), **theirs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_in(folder) == (set(), [])
    return done.stdout


def chapter(told: str, title: str) -> str:
    """Return the lines of one chapter of the output."""
    return told.split(f"\n{title}", 1)[1].split("\n\n", 1)[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_project_goes_from_its_template_to_a_prediction(told, variant):
    lines = chapter(told, f"{variant}: a project")

    printed = re.findall(r"(?m)^(?:   ok|     ) +(\S.*?)  +\d+\.\d s", lines)
    route = {"nlp": "CreateProject (Service Catalog)", "cv": "CreateProject (template in S3)"}[variant]
    steps = ["Preprocess", "Train", "Evaluate", "Gate", "Register"]
    expected = [route, "git clone", "first build", *steps, "model package", "approve, deploy to staging", "prediction"]
    assert [name for name in printed if name in expected] == expected


def test_the_prediction_is_right(told):
    assert re.search(r"prediction .*'Thank you so much.*-> praise", told)
    assert re.search(r"prediction .*7/03.png -> 7", told)


def test_a_hyperparameter_makes_version_2_and_takes_preprocessing_from_the_cache(told):
    after = chapter(told, "nlp: what comes after")

    assert re.search(r"Preprocess +\d+\.\d s  taken from the cache", after)
    assert re.search(r"model package .* version 2, PendingManualApproval", after)


def test_an_override_at_start_changes_what_runs(told):
    assert re.search(r"hyperparameters of the job .* epochs = 1", chapter(told, "nlp: what comes after"))


def test_a_readme_runs_nothing_and_a_broken_test_is_stopped_in_the_build(told):
    after = chapter(told, "nlp: what comes after")

    assert "the definition is the same, so no pipeline runs" in after
    assert "FAILED: FAILED tests/test_broken.py::test_that_fails" in after
    assert re.search(r"notice of a failed build .* the build sagemaker-p-\w+-build ended as FAILED", after)


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_left_of_a_deleted_project(told, variant):
    assert re.search(r"delete the project .* nothing is left", chapter(told, "nlp: what comes after"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_table_names_the_plots_and_they_are_pictures(told, variant):
    row = re.search(rf"(?m)^  {variant} +1 +accuracy 0\.\d+, macro_f1 .* (\S+)$", told)
    plots = ROOT / row.group(1)

    names = {"confusion.png", "classes.png", "training.png"}
    assert names <= {path.name for path in plots.iterdir()}
    assert all((plots / name).read_bytes().startswith(b"\x89PNG") for name in names)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_benchmark_of_the_rehearsal_reads_its_figures(told, variant):
    figures = rehearsal_speed.figures(rehearsal_speed.read_seconds(told, variant))

    assert [name for name, _, _ in figures] == [
        "from template to first prediction",
        "install to Lambda, without the job steps",
        "  of which the project's own build",
    ]
    assert all(seconds > 0 for _, seconds, _ in figures)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_everything_that_was_started(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "rehearsal", "play"],
        cwd=ROOT,
        env=os.environ | {"TASK": "nlp", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if "git clone" in line:  # the first build is running by now
            break
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert said.endswith("stopped: everything that was started has ended\n")
    wait_for(lambda: left_in(tmp_path) == (set(), []), 10)


def test_rehearse_down_with_nothing_up_says_so():
    assert make("rehearse-down").stdout == "no rehearsal is up\n"


# --- real data ----------------------------------------------------------------------------------------------------------

REAL = {
    "womens_reviews/reviews.csv": ("nlp", "reviews.toml"),
    "mlma": ("nlp", "moderation.toml"),
    "birds20": ("cv", "birds.toml"),
}


def some_of(source: Path, folder: Path) -> Path:
    """Copy a sample of real data that trains in seconds: the first 800 lines of a CSV, or 4 images of each class."""
    for path in [source] if source.is_file() else sorted(source.rglob("*.*")):
        target = folder / (path.name if source.is_file() else path.relative_to(source))
        target.parent.mkdir(exist_ok=True, parents=True)
        if path.suffix == ".csv":
            target.write_text("".join(path.open(newline="").readlines()[:800]))
        elif target.parent != folder and len(list(target.parent.iterdir())) < 4:
            target.write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("data", ["birds20"])  # the tests of tuning and interruption, below, use the others
def test_real_data_trains_deploys_and_predicts(data, tmp_path):
    source = SHARED / data
    if not source.exists():
        pytest.skip(f"{source} is not here: real data is not part of the repository")
    variant, settings = REAL[data]
    done = make("rehearse", TASK=variant, **own(source, settings, tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ok prediction", done.stdout)
    assert "nothing is left" in done.stdout


def own(source: Path, settings: str, folder: Path, **more: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a rehearsal with a sample of real data, for one epoch and with a gate that passes."""
    given = folder / settings
    edited = tomlkit.parse((ROOT / "docs/settings" / settings).read_text())
    for section, values in ({"training": {"epochs": 1}, "gate": {"threshold": 0.0}} | more).items():
        edited.setdefault(section, {}).update(values)
    given.write_text(tomlkit.dumps(edited))
    (folder / "some").mkdir()
    return {"DATA": str(some_of(source, folder / "some")), "SETTINGS": str(given)}


VPC = "SubnetIds=subnet-00000001 SecurityGroupIds=sg-00000001"


def test_the_best_model_of_a_tuning_is_registered_and_deployed(tmp_path):
    """On real multi-label data if it is there, else on the sample; no container has a network."""
    source = SHARED / "mlma"
    if source.exists():
        chosen = own(source, "moderation.toml", tmp_path, tuning={"jobs": 2})
    else:
        (tmp_path / "tuning.toml").write_text("[training]\nepochs = 1\n[tuning]\njobs = 2\n[gate]\nthreshold = 0.0\n")
        chosen = {"SETTINGS": str(tmp_path / "tuning.toml")}

    done = make("rehearse", TASK="nlp", PARAMETERS=f"{VPC} NetworkIsolation=true", **chosen)

    assert done.returncode == 0, done.stdout + done.stderr
    steps = re.findall(r"(?m)^        (\w+)  +\d+\.\d s", done.stdout)
    assert steps == ["Preprocess", "Tune", "Evaluate", "Gate", "Register"]
    assert re.search(r"Tune .* best of 2: validation_macro_f1 0\.\d\d with learning_rate 0\.\d+\n", done.stdout)
    assert "ok prediction" in done.stdout
    assert (ROOT / ".rehearsal/nlp/training.png").read_bytes().startswith(b"\x89PNG")
    assert "nothing is left" in done.stdout


def test_an_interrupted_training_on_two_instances_loses_no_step_and_its_model_is_deployed(tmp_path):
    """On real reviews if they are there, else on the sample; in a VPC from which only AWS can be reached."""
    source = SHARED / "womens_reviews/reviews.csv"
    count = 2 if networks_are_permitted() else 1
    compute = {"training_instance_count": count, "processing_instance_count": count}
    if source.exists():
        chosen = own(source, "reviews.toml", tmp_path, training={"epochs": 2}, compute=compute)
    else:
        (tmp_path / "two.toml").write_text(tomlkit.dumps({"compute": compute}))
        chosen = {"SETTINGS": str(tmp_path / "two.toml")}

    done = make("rehearse", TASK="nlp", INTERRUPT="1", PARAMETERS=VPC, **chosen)

    assert done.returncode == 0, done.stdout + done.stderr
    step = re.search(
        r"ok spot interruption .* SIGTERM at step (\d+).*; resumed at step (\d+): 0 steps lost", done.stdout
    )
    assert int(step[1]) == int(step[2]) > 0
    assert "ok prediction" in done.stdout
    assert "nothing is left" in done.stdout
