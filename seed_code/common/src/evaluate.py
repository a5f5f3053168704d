"""Measure the trained model on the test split, which training never saw, and write the figures the gate reads.

Run it locally:  python src/evaluate.py --model work/model --test work/prepared/test --output work/evaluation
In SageMaker:    a processing job; the trained model.tar.gz in /opt/ml/processing/input/model.
"""

import argparse
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import classification_report, confusion_matrix
from transformers.utils import logging as transformers_logging

import examples
import job
import metrics
import settings
import task

ROWS_A_BATCH = 64
MOST_BYTES, MOST_FILES = 20 * 2**30, 1000


def parse_arguments(given: list[str] | None) -> argparse.Namespace:
    inputs, outputs = job.OPT_ML / "processing/input", job.OPT_ML / "processing/output"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=inputs / "model", help="a model folder, or one with model.tar.gz")
    parser.add_argument("--test", type=Path, default=inputs / "test")
    parser.add_argument("--output", type=Path, default=outputs / "evaluation")
    return parser.parse_args(given)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack model.tar.gz. Raises ValueError for anything but plain files of a sane size and number."""
    total = 0
    with tarfile.open(archive) as tar:
        for number, member in enumerate(tar, 1):
            total += member.size
            if not (member.isfile() or member.isdir()) or number > MOST_FILES or total > MOST_BYTES:
                raise ValueError(f"{archive.name}: member {member.name!r} is not what a model archive holds.")
            tar.extract(member, folder, filter="data")
    return folder


def score(classifier: Any, test: examples.Prepared) -> np.ndarray:
    """Scores of shape (examples, classes) for the whole test split."""
    parts = []
    for start in range(0, len(test), ROWS_A_BATCH):
        parts.append(classifier.predict([test[i] for i in range(start, min(start + ROWS_A_BATCH, len(test)))]))
    return np.concatenate(parts)


def plot_confusion(truth: np.ndarray, predicted: np.ndarray, labels: list[str], path: Path) -> None:
    """Draw which class was taken for which, in shares of the true class."""
    from matplotlib.figure import Figure

    shares = confusion_matrix(truth, predicted, labels=range(len(labels)), normalize="true")
    size = min(4 + 0.35 * len(labels), 14)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", xticks=range(len(labels)), yticks=range(len(labels)))
    axes.set_xticklabels(labels, rotation=60, ha="right")
    axes.set_yticklabels(labels)
    if len(labels) <= 20:
        for (row, column), share in np.ndenumerate(shares):
            if share < 0.005:
                continue
            color = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=color, fontsize=8)
    figure.savefig(path, dpi=120)


def plot_class_scores(report: dict[str, Any], labels: list[str], path: Path) -> None:
    """Draw precision, recall and F1 of each class."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.5 + 0.4 * len(labels)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(labels))
    for offset, name in enumerate(("precision", "recall", "f1-score")):
        axes.barh(places + 0.25 * (offset - 1), [report[label][name] for label in labels], height=0.25, label=name)
    axes.set(xlim=(0, 1), yticks=places, yticklabels=labels)
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, dpi=120)


def spot_saving() -> dict[str, Any]:
    """What spot saved, from the training times that pipeline.py passes on: 1 - billable / training seconds.

    https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
    """
    runs = {}
    for name, prefix in (("train", "TRAIN"), ("train_on_demand", "TRAIN_ON_DEMAND")):
        seconds, billable = os.environ.get(f"{prefix}_SECONDS"), os.environ.get(f"{prefix}_BILLABLE_SECONDS")
        if seconds and billable:
            saving = 1 - int(billable) / int(seconds) if int(seconds) else 0.0
            runs[name] = {
                "training_seconds": int(seconds),
                "billable_seconds": int(billable),
                "saving": round(saving, 4),
            }
    return runs


def main(given: list[str] | None = None) -> None:
    arguments = parse_arguments(given)
    transformers_logging.disable_progress_bar()
    gate = settings.load()["gate"]
    archive = arguments.model / "model.tar.gz"
    with tempfile.TemporaryDirectory() as folder:
        classifier = task.Classifier.load(unpack(archive, Path(folder)) if archive.exists() else arguments.model)
    test = examples.Prepared(arguments.test)
    scores = score(classifier, test)
    truth = metrics.targets([test[i]["labels"] for i in range(len(test))], len(test.labels), test.problem)
    predicted = metrics.decide(scores, test.problem)
    measured = metrics.measure(scores, truth, test.problem)
    if gate["metric"] not in measured:
        raise ValueError(f"[gate] metric is {gate['metric']!r}, which is not measured. Choose: {', '.join(measured)}.")

    names = list(range(len(test.labels)))
    report = classification_report(
        truth, predicted, labels=names, target_names=test.labels, output_dict=True, zero_division=0
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    plot_class_scores(report, test.labels, arguments.output / "classes.png")
    if test.problem == "multi_class":
        plot_confusion(truth, predicted, test.labels, arguments.output / "confusion.png")
    evaluation = {
        # The shape that Model Registry shows: docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html
        "multiclass_classification_metrics": {
            name: {"value": value, "standard_deviation": "NaN"} for name, value in measured.items()
        },
        "gate": {"metric": gate["metric"], "value": measured[gate["metric"]]},
        "test_examples": len(test),
        "classes": {label: report[label] for label in test.labels},
        "spot": spot_saving(),
    }
    (arguments.output / "evaluation.json").write_text(json.dumps(evaluation, indent=2))
    print("test: " + ", ".join(f"{name} {value:.4f}" for name, value in measured.items()), flush=True)


if __name__ == "__main__":
    job.run(main)
