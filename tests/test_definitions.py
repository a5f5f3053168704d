"""Pipeline definitions: fresh, the same every time, written without a network, and of the chosen shape."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomlkit

from build import ROOT, VARIANTS
from build.assemble import assemble, write
from build.definitions import generate

# Fails at the first attempt to reach anything: a network namespace would hide attempts in swallowed errors.
NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("network:", arguments, file=sys.stderr)
        import os; os._exit(9)
sys.addaudithook(refuse)
import runpy; sys.path.insert(0, "."); runpy.run_path("pipeline.py", run_name="__main__")
"""


def definition_with(folder: Path, variant: str, section: str = "compute", **values: str) -> dict:
    """The definition of a seed with other settings in a section, written with the network refused."""
    write(assemble(variant), folder)
    settings = tomlkit.parse((folder / "settings.toml").read_text())
    settings[section].update(values)
    (folder / "settings.toml").write_text(tomlkit.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_committed_definition_is_fresh_and_the_same_when_written_again(variant):
    committed = (ROOT / "pipeline_json" / f"{variant}.json").read_text()

    assert generate(variant) == committed, "run: make definitions"


@pytest.mark.parametrize(
    "mode, trainings",
    [
        ("spot", {"Train": True}),
        ("on_demand", {"Train": False}),
        ("compare", {"Train": True, "TrainOnDemand": False}),
    ],
)
def test_the_mode_decides_which_trainings_run_on_spot(tmp_path, mode, trainings):
    definition = definition_with(tmp_path, "nlp", mode=mode)

    requests = {step["Name"]: step["Arguments"] for step in definition["Steps"] if step["Type"] == "Training"}
    assert {name: request.get("EnableManagedSpotTraining", False) for name, request in requests.items()} == trainings
    for name, spot in trainings.items():
        assert ("MaxWaitTimeInSeconds" in requests[name]["StoppingCondition"]) is spot
        assert {"Key": "TrainingType", "Value": "Spot" if spot else "OnDemand"} in requests[name]["Tags"]
        assert requests[name]["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"


def test_a_job_is_told_where_to_report_and_no_secret(tmp_path):
    chosen = {
        "mlflow": "https://mlflow.example.com",
        "wandb_project": "digits",
        "wandb_secret": "sagemaker-p-example/wandb",
    }
    definition = definition_with(tmp_path, "nlp", "tracking", **chosen)

    told = {step["Name"]: step["Arguments"].get("Environment") for step in definition["Steps"] if "Type" in step}
    assert told["Train"] == {
        "MLFLOW_TRACKING_URI": "https://mlflow.example.com",
        "MLFLOW_EXPERIMENT_NAME": "example-p-example",
        "WANDB_PROJECT": "digits",
        "WANDB_SECRET": "sagemaker-p-example/wandb",
    }
    assert told["Preprocess"] is None


def test_a_secret_of_another_project_is_refused_by_the_build(tmp_path):
    write(assemble("nlp"), tmp_path)
    settings = (tmp_path / "settings.toml").read_text()
    settings = settings.replace('wandb_project = ""', 'wandb_project = "digits"')
    settings = settings.replace('wandb_secret = ""', 'wandb_secret = "wandb"')
    (tmp_path / "settings.toml").write_text(settings)

    build = {"PATH": os.environ["PATH"], "PROJECT_BUCKET": "bucket", "PROJECT_ID": "p-1"}
    command = [sys.executable, "pipeline.py"]
    done = subprocess.run(command, cwd=tmp_path, env=build, capture_output=True, text=True, check=False)

    said = "error: [tracking] wandb_secret is 'wandb'. Name it sagemaker-p-1/..., as in sagemaker-p-1/wandb."
    assert (done.returncode, done.stderr.strip()) == (1, said)


def test_a_readme_changes_nothing_and_a_script_changes_its_own_step(tmp_path):
    write(assemble("nlp"), tmp_path)

    def addresses() -> dict[str, str]:
        done = subprocess.run([sys.executable, "pipeline.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
        text = {step["Name"]: json.dumps(step) for step in json.loads(done.stdout)["Steps"]}
        steps = ("Preprocess", "Train", "Evaluate")
        return {name: re.search(r'"s3://[^"/]+/code/([0-9a-f]{20})"', text[name]).group(1) for name in steps}

    before = addresses()
    with (tmp_path / "README.md").open("a") as readme, (tmp_path / "src/train.py").open("a") as script:
        readme.write("ours\n")
        script.write("# ours\n")
    after = addresses()

    assert {name for name in before if before[name] != after[name]} == {"Train"}


def test_every_parameter_is_used(tmp_path):
    text = (ROOT / "pipeline_json/nlp.json").read_text()

    names = [entry["Name"] for entry in json.loads(text)["Parameters"]]
    assert len(names) == 9
    assert [name for name in names if f'"Parameters.{name}"' not in text] == []
