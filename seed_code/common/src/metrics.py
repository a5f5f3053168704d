"""The figures that a model is judged by, the same in training, evaluation and the gate."""

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
)

from scoring import decide

LEAST_TO_TUNE = 10  # positive examples that a threshold is tuned on; with fewer it stays at 0.5
BINS = 15


def one_hot(truth: np.ndarray, classes: int) -> np.ndarray:
    """Zeros and ones of shape (n, classes), from class numbers (n,) or from what is so already."""
    return truth.astype(np.int64) if truth.ndim == 2 else np.eye(classes, dtype=np.int64)[truth]


def tune_thresholds(scores: np.ndarray, truth: np.ndarray, problem: str) -> list[float]:
    """The thresholds with the best F1 on the validation split, in the form that `decide` takes; none for multi_class."""
    if problem == "multi_class":
        return []
    columns = [1] if problem == "binary" else range(scores.shape[1])
    return [best_threshold(scores[:, column], one_hot(truth, scores.shape[1])[:, column]) for column in columns]


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of one class with the best F1, half-way to the next lower score, so that it holds for others too."""
    if truth.sum() < LEAST_TO_TUNE or truth.all():
        return 0.5
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1[:-1].argmax())
    below = thresholds[best - 1] if best else 0.0
    return float(thresholds[best] + below) / 2


def measure(
    scores: np.ndarray, truth: np.ndarray, problem: str, thresholds: list[float] | None = None
) -> dict[str, float]:
    """Accuracy (for multi_label: of the whole set of labels), F1 and what does not depend on a threshold, in 0..1.

    Averages over the classes leave out those that the split does not have: they say nothing about the model.
    """
    predicted = decide(scores, problem, thresholds)
    indicators = one_hot(truth, scores.shape[1])
    present = np.flatnonzero(indicators.any(axis=0))
    found = {
        "accuracy": accuracy_score(truth, predicted),
        "macro_f1": f1_score(truth, predicted, labels=present, average="macro", zero_division=0),
        "micro_f1": f1_score(truth, predicted, average="micro", zero_division=0),
        "macro_recall": recall_score(truth, predicted, labels=present, average="macro", zero_division=0),
    }
    if problem == "binary":
        found["f1"] = f1_score(truth, predicted, zero_division=0)
        found["precision"] = precision_score(truth, predicted, zero_division=0)
        found["recall"] = recall_score(truth, predicted, zero_division=0)
    # Needs both examples of a class and others; for binary the positive class alone.
    both = [column for column in present if not indicators[:, column].all()]
    both = [column for column in both if column == 1] if problem == "binary" else both
    if both:
        found["roc_auc"] = np.mean([roc_auc_score(indicators[:, c], scores[:, c]) for c in both])
        found["average_precision"] = np.mean([average_precision_score(indicators[:, c], scores[:, c]) for c in both])
    found["calibration_error"] = sum(
        one["count"] * abs(one["accuracy"] - one["confidence"]) for one in calibration(scores, truth, problem)
    ) / (scores.size if problem == "multi_label" else len(scores))
    # No number: no class of the split has an example. That is no quality at all.
    return {name: float(np.nan_to_num(value)) for name, value in found.items()}


def calibration(scores: np.ndarray, truth: np.ndarray, problem: str) -> list[dict[str, float]]:
    """Mean confidence, accuracy and number of answers in each of 15 bins of confidence (Guo et al. 2017).

    The answer is the class with the highest score; for multi_label every class is one, with its own score.
    """
    if problem == "multi_label":
        confidence, right = scores.ravel(), truth.ravel() == 1
    else:
        confidence, right = scores.max(axis=1), scores.argmax(axis=1) == truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(right[bins == number].mean()),
            "count": int((bins == number).sum()),
        }
        for number in range(BINS)
        if (bins == number).any()
    ]
