"""The evaluation of a model: for each problem, against the approved model, in the form that the registry reads."""

import csv
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import wait_for

from build.assemble import assemble, edit_settings, write

SMALL = {
    "model": {"name": "distilbert", "config": {"n_layers": 1, "n_heads": 2, "dim": 64, "hidden_dim": 64}},
    "training": {"epochs": 8, "batch_size": 16},
}
WORDS = {"late": "parcel box courier late lost", "paid": "card bill refund charge paid", "rude": "angry rude shout bad"}


def make_data(path: Path, problem: str) -> None:
    """Write 400 texts whose words decide their labels; a tenth gets a random label instead."""
    chance = random.Random(1)
    names = sorted(WORDS)[: 2 if problem == "binary" else 3]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(400):
            many = problem == "multi_label"
            labels = [name for name in names if chance.random() < 0.4] if many else [chance.choice(names)]
            words = [chance.choice(WORDS[name].split()) for name in labels for _ in range(4)] or ["nothing"]
            if chance.random() < 0.1:
                labels = [chance.choice(names)]
            writer.writerow([" ".join([*words, f"number{number}"]), "+".join(labels)])


def run(repository: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=repository,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def local(folder: Path, problem: str) -> Path:
    """Assemble a repository, run `make local` on data of a problem, and return the repository."""
    write(assemble("nlp"), folder)
    separator = "+" if problem == "multi_label" else ""
    edit_settings(folder / "settings.toml", {**SMALL, "data": {"problem": problem, "label_separator": separator}})
    make_data(folder / "data.csv", problem)
    python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "local", "DATA=data.csv"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        | {"PATH": python, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module", params=["binary", "multi_class", "multi_label"])
def trained(request, tmp_path_factory) -> tuple[str, Path, dict]:
    folder = local(tmp_path_factory.mktemp(request.param) / "landed", request.param)
    return request.param, folder, json.loads((folder / "work/evaluation/evaluation.json").read_text())


def test_a_model_learns_what_there_is_to_learn(trained):
    _, _, evaluation = trained

    assert evaluation["metrics"]["macro_f1"] > 0.75
    assert evaluation["metrics"]["average_precision"] > 0.8


def test_the_model_stands_beside_plain_baselines_and_every_figure_has_an_interval(trained):
    _, folder, evaluation = trained
    majority, plain = evaluation["baselines"].values()

    for name, value in evaluation["metrics"].items():
        low, high = evaluation["intervals"].get(name, (value, value))
        assert low <= value <= high
        assert low < high or value in (0, 1) or name == "calibration_error"
    assert majority["metrics"]["macro_f1"] < 0.5 < plain["metrics"]["macro_f1"]
    assert majority["interval"][0] > 0
    page = (folder / "work/evaluation/evaluation.html").read_text()
    assert "Beside plain baselines" in page
    assert "TF-IDF with logistic regression" in page
    assert "batch_size" in page
    assert "of training" in page


def test_the_registry_finds_its_figures(trained):
    problem, _, evaluation = trained
    section = evaluation[f"{'binary' if problem == 'binary' else 'multiclass'}_classification_metrics"]

    assert section["accuracy"] == {"value": evaluation["metrics"]["accuracy"], "standard_deviation": "NaN"}
    if problem == "multi_label":
        return
    counts = [count for row in section["confusion_matrix"].values() for count in row.values()]
    assert sum(counts) == evaluation["test_examples"]


def test_thresholds_are_tuned_on_validation_and_served(trained):
    problem, folder, evaluation = trained
    facts = json.loads((folder / "work/model/facts.json").read_text())

    asked = {"binary": 1, "multi_class": 0, "multi_label": 3}[problem]
    assert len(facts["thresholds"]) == len(evaluation.get("thresholds", {})) == asked
    assert all(0 < threshold < 1 for threshold in facts["thresholds"])


def test_what_is_served_is_what_was_evaluated(trained):
    problem, folder, evaluation = trained
    program = """
import json, pathlib, sys
sys.path.insert(0, "work/model/code")
import inference
from spotkit.data import examples
from spotkit.evaluation import scoring
model = inference.model_fn("work/model")
test = examples.Prepared(pathlib.Path("work/prepared/test"))
scores = scoring.mean([scoring.score(model, model.items(test, pathlib.Path("scratch")))])
decided = scoring.decide(scores, model.problem, model.facts["thresholds"])
for i in range(0, len(test), 9):
    body = json.dumps({"inputs": test[i]["text"]})
    answer = json.loads(inference.output_fn(inference.predict_fn(inference.input_fn(body, "application/json"), model)))[0]
    assert all(abs(answer["scores"][name] - score) < 1e-5 for name, score in zip(model.labels, scores[i])), answer
    one = [model.labels[j] for j in range(len(model.labels)) if model.problem == "multi_label" and decided[i][j]]
    assert answer.get("labels", []) == sorted(one, key=lambda name: -answer["scores"][name])
    assert "label" not in answer or answer["label"] == model.labels[int(decided[i])]
print(len(test))
"""

    assert run(folder, "-c", program).strip() == str(evaluation["test_examples"])


def test_the_reports_are_there_and_name_every_class(trained):
    _, folder, evaluation = trained

    for page in ("work/prepared/report/data.html", "work/evaluation/evaluation.html"):
        text = (folder / page).read_text()
        assert all(label in text for label in evaluation["classes"])
        assert not re.search(r'(src|href)="http', text)


def evaluate(folder: Path, output: str, *more: str, **environment: str) -> dict:
    run(
        folder, "-m", "spotkit.evaluation.evaluate", "--model", "work/model", "--test", "work/prepared/test", "--output", output, *more,
        **environment,
    )  # fmt: skip
    return json.loads((folder / output / "evaluation.json").read_text())


@pytest.mark.parametrize("trained", ["binary"], indirect=True)  # the code is the same for every problem
def test_a_model_is_compared_with_the_approved_one_on_the_same_test_split(trained):
    _, folder, evaluation = trained
    run(
        folder, "-m", "spotkit.training.train", "--epochs", "1", "--learning-rate", "1e-6", "--train", "work/prepared/train",
        "--validation", "work/prepared/validation", "--output", "worse",
    )  # fmt: skip

    same = evaluate(folder, "same", "--champion", "work/model")
    better = evaluate(folder, "better", "--champion", "worse/model")

    assert evaluation["gate"]["drop"] == -1  # there was no approved model
    assert same["gate"]["drop"] == 0
    assert better["gate"]["drop"] == pytest.approx(better["champion"]["value"] - better["gate"]["value"])
    assert better["gate"]["drop"] < 0

    edit_settings(folder / "settings.toml", {"gate": {"not_below_baseline": True}})
    below = evaluate(folder, "below", "--model", "worse/model")
    edit_settings(folder / "settings.toml", {"gate": {"not_below_baseline": False}})
    assert below["gate"]["value"] == -1
    assert "Below the baseline, TF-IDF with logistic regression" in below["gate"]["verdict"]


@pytest.mark.parametrize("trained", ["binary"], indirect=True)  # the code is the same for every problem
def test_training_stops_when_its_epochs_bring_nothing(trained):
    _, folder, _ = trained
    before = (folder / "settings.toml").read_text()
    knobs = {"patience": 2, "class_weights": "balanced", "label_smoothing": 0.1, "schedule": "cosine"}
    edit_settings(folder / "settings.toml", {"training": knobs})

    said = run(
        folder, "-m", "spotkit.training.train", "--epochs", "30", "--learning-rate", "1e-9", "--train", "work/prepared/train",
        "--validation", "work/prepared/validation", "--output", "early",
    )  # fmt: skip

    (folder / "settings.toml").write_text(before)
    history = json.loads((folder / "early/plots/history.json").read_text())
    best = next(entry["epoch"] for entry in history if entry["best"])
    assert len(history) == best + 2 < 30
    assert f"the best epoch is {best} of 30" in said


@pytest.mark.parametrize("trained", ["binary"], indirect=True)  # the code is the same for every problem
def test_the_approved_model_comes_from_the_registry(trained, emulator, bucket):
    _, folder, _ = trained
    s3, sagemaker = emulator.client("s3"), emulator.client("sagemaker")
    subprocess.run(["tar", "-czf", "model.tar.gz", "-C", "work/model", "."], cwd=folder, check=True)
    s3.put_object(Bucket=bucket, Key="champion/model.tar.gz", Body=(folder / "model.tar.gz").read_bytes())
    group = {"Type": "AWS::SageMaker::ModelPackageGroup", "Properties": {"ModelPackageGroupName": "champions"}}
    emulator.client("cloudformation").create_stack(
        StackName="champions", TemplateBody=json.dumps({"Resources": {"Group": group}})
    )
    wait_for(lambda: sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"])
    before = evaluate(folder, "before", MODEL_PACKAGE_GROUP="champions", **emulator.environment())
    for status in ("Approved", "Rejected"):
        container = {"Image": "image", "ModelDataUrl": f"s3://{bucket}/champion/model.tar.gz"}
        sagemaker.create_model_package(
            ModelPackageGroupName="champions",
            ModelApprovalStatus=status,
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": ["application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )

    after = evaluate(folder, "after", MODEL_PACKAGE_GROUP="champions", **emulator.environment())

    assert before["gate"]["drop"] == -1
    assert after["champion"]["model_package"].endswith("model-package/champions/1")
    assert after["gate"]["drop"] == 0


@pytest.mark.parametrize("trained", ["binary"], indirect=True)  # the code is the same for every problem
def test_an_evaluation_without_a_model_says_so(trained, tmp_path):
    _, folder, _ = trained
    command = [
        sys.executable,
        "-m",
        "spotkit.evaluation.evaluate",
        "--model",
        str(tmp_path),
        "--test",
        "work/prepared/test",
    ]

    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path} holds no model. Run train.py first, or give the folder that holds it or its model.tar.gz.\n"
    )


# Removes one class from the test split: a split that the data itself defines may lack a class.
WITHOUT_FIRST = """
import pathlib, shutil, sys
sys.path.insert(0, "src")
import pyarrow as pa
source, target = map(pathlib.Path, sys.argv[1:])
target.mkdir()
for part in source.glob("*.arrow"):
    table = pa.ipc.open_file(str(part)).read_all()
    kept = table.filter(pa.array([0 not in labels for labels in table["labels"].to_pylist()]))
    with pa.ipc.new_file(str(target / part.name), table.schema) as file:
        file.write_table(kept)
"""


def test_a_class_without_a_test_example_fails_the_gate_and_has_no_figures(trained, tmp_path):
    problem, folder, evaluation = trained
    missing = sorted(evaluation["classes"])[0] if problem != "binary" else list(evaluation["classes"])[0]
    run(folder, "-c", WITHOUT_FIRST, "work/prepared/test", str(tmp_path / "test"))

    said = run(
        folder,
        "-m",
        "spotkit.evaluation.evaluate",
        "--model",
        "work/model",
        "--test",
        str(tmp_path / "test"),
        "--output",
        str(tmp_path / "e"),
    )

    found = json.loads((tmp_path / "e/evaluation.json").read_text())
    assert f"the gate is not passed: No test example of: {missing}." in said
    assert (found["gate"]["value"], found["classes"][missing]["f1-score"]) == (-1.0, None)
    page = (tmp_path / "e/evaluation.html").read_text()
    assert f"No test example of: {missing}." in page
    assert "Not passed." in page
