"""Measure the trained model on the test split, which training never saw, and write the metrics that the gate reads.

Run it locally:  python src/evaluate.py --model work/model --test work/prepared/test --output work/evaluation
In SageMaker:    a processing job; the trained model.tar.gz in /opt/ml/processing/input/model.

With MODEL_PACKAGE_GROUP set (pipeline.py does so when [gate] allowed_drop is below 1), the approved model is measured
too, on the same test split.
"""

import argparse
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import classification_report, confusion_matrix
from transformers.utils import logging as transformers_logging

import task
from spotkit import settings
from spotkit.data import examples
from spotkit.evaluation import baseline, bootstrap, metrics, plots, report, scoring
from spotkit.jobs import job

MAX_BYTES, MAX_FILES = 20 * 2**30, 1000
MISTAKES = 12  # in the report
REFUSED = -1.0  # the gate's value for a refused model: below every threshold
NAMED = 10  # classes listed in a sentence
MANY_CLASSES = 10  # from so many classes on, top-3 and top-5 accuracy are reported
CONFUSED = 10  # pairs of classes in the report
MAX_CLASSES_DRAWN = 100  # in the plot of the confusion matrix; beyond, see evaluation.json


def parse_arguments(given: list[str] | None) -> argparse.Namespace:
    inputs, outputs = job.OPT_ML / "processing/input", job.OPT_ML / "processing/output"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", type=Path, default=inputs / "model", help="a model folder, or one with model.tar.gz")
    parser.add_argument("--test", type=Path, default=inputs / "test")
    parser.add_argument("--output", type=Path, default=outputs / "evaluation")
    parser.add_argument("--champion", type=Path, help="the model to be no worse than; else the approved one, if asked")
    return parser.parse_args(given)


# --- models ----------------------------------------------------------------------------------------------------------


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack model.tar.gz into a folder, and return the folder.

    Raise ValueError for anything but plain files and folders, a name that occurs twice, or too many files or bytes.
    """
    total = 0
    seen: set[str] = set()
    try:
        with tarfile.open(archive) as tar:
            for number, member in enumerate(tar, 1):
                total += member.size
                plain = (member.isfile() or member.isdir()) and member.name not in seen
                if not plain or number > MAX_FILES or total > MAX_BYTES:
                    raise ValueError(f"{archive.name}: member {member.name!r} is not what a model archive holds.")
                seen.add(member.name)
                tar.extract(member, folder, filter="data")  # "data" rejects paths outside the folder
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{archive.name} cannot be unpacked: {error}") from error
    return folder


def load(folder: Path, scratch: Path) -> task.Classifier:
    """Return the model in a folder: either unpacked, or in the model.tar.gz of a training job."""
    archive = folder / "model.tar.gz"
    if not archive.exists() and not (folder / "facts.json").exists():
        raise FileNotFoundError(
            f"{folder} holds no model. Run train.py first, or give the folder that holds it or its model.tar.gz."
        )
    classifier = task.Classifier.load(unpack(archive, scratch) if archive.exists() else folder)
    if torch.cuda.is_available():
        classifier.model.to("cuda")
    return classifier


def approved(group: str, scratch: Path) -> tuple[str, Path] | None:
    """Return the ARN of a group's newest approved model package, and the folder with its downloaded archive.

    Return None if no package is approved.
    """
    import boto3

    sagemaker, s3 = boto3.client("sagemaker"), boto3.client("s3")
    found = sagemaker.list_model_packages(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=1,
    )["ModelPackageSummaryList"]
    if not found:
        return None
    name = found[0]["ModelPackageArn"]
    containers = sagemaker.describe_model_package(ModelPackageName=name)["InferenceSpecification"]["Containers"]
    bucket, _, key = containers[0]["ModelDataUrl"].removeprefix("s3://").partition("/")
    scratch.mkdir()
    s3.download_file(bucket, key, str(scratch / "model.tar.gz"))
    return name, scratch


def score(classifier: task.Classifier, test: examples.Prepared, scratch: Path) -> np.ndarray:
    """Return scores of shape (examples, classes) for the whole test split.

    Raise ValueError if the model was trained on other classes.
    """
    if classifier.labels != test.labels:
        raise ValueError(
            f"the model knows the classes {', '.join(classifier.labels)}, and the test split has "
            f"{', '.join(test.labels)}. They must be the same: train on today's data, or set [gate] allowed_drop to 1."
        )
    items = classifier.items(test, scratch)
    return scoring.mean([scoring.score(classifier, items)])


def measure_champion(
    arguments: argparse.Namespace, test: examples.Prepared, metric: str, scratch: Path
) -> dict[str, Any] | None:
    """Measure the approved model, or the one of --champion, on this test split.

    Return None if no comparison is wanted or no model is approved.
    """
    name, folder = str(arguments.champion), arguments.champion
    if group := os.environ.get("MODEL_PACKAGE_GROUP"):
        found = approved(group, scratch / "approved")
        if found is None:
            print(f"no approved model in {group} to compare with", flush=True)
            return None
        name, folder = found
    elif not folder:
        return None
    try:
        champion = load(folder, scratch / "champion")
        scores = score(champion, test, scratch / "champion-items")
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"the approved model {name} cannot be run by this code: {error!r}. Set [gate] allowed_drop to 1, once."
        ) from error
    measured = metrics.measure(scores, test.truth, test.problem, champion.facts.get("thresholds"))
    return {"model_package": name, "value": measured[metric]}


# --- metrics ---------------------------------------------------------------------------------------------------------


def spot_saving() -> dict[str, Any]:
    """Return training seconds, billable seconds and what Spot saved: 1 - billable / training seconds.

    The times are environment variables, which pipeline.py sets.
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


def registry_metrics(
    measured: dict[str, float], truth: np.ndarray, predicted: np.ndarray, problem: str, classes: int
) -> dict[str, Any]:
    """Return the metrics in the format that Model Registry displays.

    https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-model-quality-metrics.html
    """
    found: dict[str, Any] = {name: {"value": value, "standard_deviation": "NaN"} for name, value in measured.items()}
    if problem != "multi_label":
        matrix = confusion_matrix(truth, predicted, labels=range(classes))
        found["confusion_matrix"] = {
            str(row): {str(column): int(count) for column, count in enumerate(counts)}
            for row, counts in enumerate(matrix)
        }
    if problem == "binary" and "roc_auc" in measured:
        found["auc"] = {"value": measured["roc_auc"], "standard_deviation": "NaN"}
    return {f"{'binary' if problem == 'binary' else 'multiclass'}_classification_metrics": found}


def find_mistakes(
    scores: np.ndarray, predicted: np.ndarray, test: examples.Prepared, thresholds: list[float] | None
) -> list[dict[str, Any]]:
    """Return the wrong predictions that the model was most confident of, at most MISTAKES.

    For multi_label, "label" is the label that is furthest on the wrong side of its threshold, with its "score" and
    "threshold"; "given" is true if the model predicted it.
    """
    several, truth = test.problem == "multi_label", test.truth
    limits = scoring.limits_of(scores, thresholds)
    if several:
        # (examples, classes): how far a wrong label is from its threshold; -1 for right ones
        off = np.where(predicted != truth, np.abs(scores - limits), -1)
        sure, wrong = off.max(axis=1), (predicted != truth).any(axis=1)
    else:
        off = np.empty(0)
        sure, wrong = scores[np.arange(len(scores)), predicted], predicted != truth
    found = []
    for index in sorted(np.flatnonzero(wrong), key=lambda i: -sure[i])[:MISTAKES]:
        row = test[int(index)]
        numbers = np.flatnonzero(predicted[index]) if several else [predicted[index]]
        mistake = {
            "where": row["where"],
            "labels": [test.labels[number] for number in row["labels"]],
            "predicted": [test.labels[number] for number in numbers],
            "score": float(sure[index]),
        }
        if several:
            worst = int(off[index].argmax())
            mistake |= {
                "label": test.labels[worst],
                "given": bool(predicted[index][worst]),
                "score": float(scores[index, worst]),
                "threshold": float(limits[worst]),
            }
        found.append(mistake | task.show(row, test.facts))
    return found


def beside(
    judged: bootstrap.Judged, test: examples.Prepared, folder: Path, metric: str
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return 95 % intervals of the model's metrics, and the baselines on the same examples.

    Each baseline has its "metrics" and, as "interval", the 95 % interval of how far the gate's metric is above the
    baseline's.
    """
    measured, others = {}, {}
    for name, stored in baseline.read(folder).items():
        # The majority baseline has one row of scores for all examples: repeat it to (examples, classes).
        scores = stored["test"] if "test" in stored else np.tile(stored["share"], (len(test), 1))
        thresholds = None
        if "validation" in stored:
            thresholds = metrics.tune_thresholds(stored["validation"], stored["validation_truth"], test.problem, metric)
        measured[name] = metrics.measure(scores, test.truth, test.problem, thresholds)
        others[name] = bootstrap.Judged(scores, test.truth, test.problem, thresholds)
    intervals, above = bootstrap.intervals(judged, others, metric)
    return intervals, {
        name: {"metrics": found, **({"interval": above[name]} if name in above else {})}
        for name, found in measured.items()
    }


def confused(truth: np.ndarray, predicted: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
    """Return the most frequent confusions, each with the true class, the predicted one and their count."""
    matrix = confusion_matrix(truth, predicted, labels=range(len(labels)))
    np.fill_diagonal(matrix, 0)  # leave only the wrong predictions
    most = np.argsort(-matrix, axis=None, kind="stable")[:CONFUSED]
    pairs = [(int(row), int(column)) for row, column in zip(*np.unravel_index(most, matrix.shape), strict=True)]
    return [
        {"label": labels[row], "predicted": labels[column], "count": int(matrix[row, column])}
        for row, column in pairs
        if matrix[row, column]
    ]


def draw(scores: np.ndarray, predicted: np.ndarray, classes: dict[str, Any], test: examples.Prepared) -> dict[str, Any]:
    """Return the figures of the report, by name."""
    figures = {
        "classes": plots.class_scores(classes, test.labels),
        "curves": plots.curves(scores, metrics.one_hot(test.truth, len(test.labels)), test.labels),
        "calibration": plots.calibration(metrics.calibration(scores, test.truth, test.problem)),
    }
    if test.problem != "multi_label" and len(test.labels) <= MAX_CLASSES_DRAWN:
        figures["confusion"] = plots.confusion(test.truth, predicted, test.labels)
    return figures


def top_accuracy(scores: np.ndarray, truth: np.ndarray, most: int) -> float:
    """Return the share of examples whose class is among the `most` classes with the highest scores."""
    first = np.argsort(-scores, axis=1, kind="stable")[:, :most]
    return float((first == truth[:, None]).any(axis=1).mean())


def training_of(folder: Path, scratch: Path) -> dict[str, Any]:
    """Return what train.py wrote beside the model: its settings, seconds and epochs.

    Return {} for a model of an older version, which has no training.json.
    """
    for path in (scratch / "training.json", folder / "training.json"):
        if path.exists():
            return json.loads(path.read_text())
    return {}


def gate_of(
    measured: dict[str, float],
    metric: str,
    champion: dict[str, Any] | None,
    untested: list[str],
    baselines: dict[str, Any],
) -> dict[str, Any]:
    """Return what the pipeline's Gate step reads.

    - "measured": the metric's value; "value": the same, or REFUSED if the model is refused whatever it reaches: a class
      has no test example, or [gate] not_below_baseline is set and a baseline is better. "verdict" says why.
    - "drop": how far the metric is below the approved model's, -1 if there is none; "comparison" says it in words.
    """
    if metric not in measured:
        raise ValueError(f"[gate] metric is {metric!r}, which is not measured. Choose: {', '.join(measured)}.")
    drop = champion["value"] - measured[metric] if champion else -1.0
    chosen = settings.load()["gate"]
    refusal = reason_to_refuse(metric, untested, baselines if chosen["not_below_baseline"] else {})
    gate = {
        "metric": metric,
        "measured": measured[metric],
        "value": REFUSED if refusal else measured[metric],
        "drop": drop,
        "comparison": f"The approved model's is {champion['value']:.4f}."
        if champion
        else "There is no approved model.",
        "verdict": refusal or "Every class has test examples.",
    }
    threshold = os.environ.get("GATE_THRESHOLD", chosen.get("threshold"))
    return gate if threshold is None else gate | {"threshold": float(threshold)}


def reason_to_refuse(metric: str, untested: list[str], baselines: dict[str, Any]) -> str:
    """Return why a model is refused whatever its metric is; an empty string if it is not.

    The reasons are a class without a test example, and a baseline that is better, beyond the interval.
    """
    if untested:
        more = f" and {len(untested) - NAMED} more" if len(untested) > NAMED else ""
        return f"No test example of: {', '.join(untested[:NAMED])}{more}. Give more examples of it, or leave it out."
    better = [found for found in baselines.items() if found[1].get("interval", (0, 0))[1] < 0]
    if not better:
        return ""
    name, found = better[-1]
    return f"Below the baseline, {name}, which reaches {found['metrics'][metric]:.4f} on the same examples."


def figures_of(found: dict[str, float]) -> dict[str, float | None]:
    """Return a class's precision, recall and F1; None for each if the test split has no example of it."""
    return {name: value if found["support"] or name == "support" else None for name, value in found.items()}


def judge(
    scores: np.ndarray,
    predicted: np.ndarray,
    thresholds: list[float] | None,
    champion: dict[str, Any] | None,
    test: examples.Prepared,
    folder: Path,
) -> dict[str, Any]:
    """Measure the predictions for the test split in `folder`.

    Return the content of evaluation.json, without "training".
    """
    metric = settings.load()["gate"]["metric"]
    measured = metrics.measure(scores, test.truth, test.problem, thresholds)
    numbers = list(range(len(test.labels)))
    # By class number: a class that is named "accuracy" would collide with that row of the report.
    by_number = classification_report(test.truth, predicted, labels=numbers, output_dict=True, zero_division=0)
    classes = {label: figures_of(by_number[str(number)]) for number, label in enumerate(test.labels)}
    untested = [label for label, found in classes.items() if not found["support"]]
    judged = bootstrap.Judged(scores, test.truth, test.problem, thresholds)
    intervals, baselines = beside(judged, test, folder, metric)
    gate = gate_of(measured, metric, champion, untested, baselines)
    evaluation = {
        **registry_metrics(measured, test.truth, predicted, test.problem, len(test.labels)),
        "gate": gate,
        "problem": test.problem,
        "metrics": measured,
        "intervals": intervals,
        "baselines": baselines,
        "test_examples": len(test),
        "classes": classes,
        "spot": spot_saving(),
    }
    if test.problem != "multi_label":
        evaluation["confused"] = confused(test.truth, predicted, test.labels)
        if len(test.labels) >= MANY_CLASSES:
            evaluation["top"] = {str(most): top_accuracy(scores, test.truth, most) for most in (3, 5)}
    if champion:
        evaluation["champion"] = champion | {"drop": gate["drop"]}
    if thresholds:
        names = test.labels[1:] if test.problem == "binary" else test.labels
        evaluation["thresholds"] = dict(zip(names, thresholds, strict=True))
    return evaluation


def print_metrics(evaluation: dict[str, Any]) -> None:
    """Print the metrics, and those of the approved model and the baselines."""
    gate = evaluation["gate"]
    metric = gate["metric"]
    if "champion" in evaluation:
        print(f"the approved model: {metric} {evaluation['champion']['value']:.4f}", flush=True)
    if gate["value"] == REFUSED:
        print(f"the gate is not passed: {gate['verdict']}", flush=True)
    for name, found in evaluation["baselines"].items():
        if metric in found["metrics"]:
            print(f"baseline, {name}: {metric} {found['metrics'][metric]:.4f}", flush=True)
    print("test: " + ", ".join(f"{name} {value:.4f}" for name, value in evaluation["metrics"].items()), flush=True)


def main(given: list[str] | None = None) -> None:
    arguments = parse_arguments(given)
    transformers_logging.disable_progress_bar()
    test = examples.Prepared(arguments.test)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        classifier = load(arguments.model, scratch / "model")
        training = training_of(arguments.model, scratch / "model")
        scores = score(classifier, test, scratch / "items")
        champion = measure_champion(arguments, test, settings.load()["gate"]["metric"], scratch)
    thresholds = classifier.facts.get("thresholds")
    predicted = scoring.decide(scores, test.problem, thresholds)
    evaluation = judge(scores, predicted, thresholds, champion, test, arguments.test) | {"training": training}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "evaluation.json").write_text(json.dumps(evaluation, indent=2))
    figures = draw(scores, predicted, evaluation["classes"], test)
    if history := training.get("history"):
        figures["history"] = plots.history(history)
    for name, figure in figures.items():
        (arguments.output / f"{name}.png").write_bytes(plots.png(figure))
    mistakes = find_mistakes(scores, predicted, test, thresholds)
    report.evaluation_report(arguments.output / "evaluation.html", evaluation, figures, mistakes)
    print_metrics(evaluation)


if __name__ == "__main__":
    job.run(main)
