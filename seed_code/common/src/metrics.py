"""The figures that a model is judged by, the same in training, evaluation and the gate."""

import numpy as np
from sklearn.metrics import accuracy_score, f1_score


def targets(labels: list[list[int]], classes: int, problem: str) -> np.ndarray:
    """Class numbers of shape (n,) for multi_class, zeros and ones of shape (n, classes) for multi_label."""
    if problem == "multi_class":
        return np.array([numbers[0] for numbers in labels])
    rows = np.zeros((len(labels), classes), dtype=np.int64)
    for row, numbers in zip(rows, labels, strict=True):
        row[numbers] = 1
    return rows


def decide(scores: np.ndarray, problem: str) -> np.ndarray:
    """The predicted classes, in the shape of `targets`, from scores between 0 and 1 of shape (n, classes)."""
    return scores.argmax(axis=1) if problem == "multi_class" else (scores >= 0.5).astype(np.int64)


def measure(scores: np.ndarray, truth: np.ndarray, problem: str) -> dict[str, float]:
    """Accuracy (for multi_label: of the whole set of labels), macro and micro F1, each between 0 and 1."""
    predicted = decide(scores, problem)
    # A class that the split does not have says nothing about the model: its F1 would be 0 whatever is predicted.
    present = np.unique(truth) if problem == "multi_class" else np.flatnonzero(truth.any(axis=0))
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        "macro_f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "micro_f1": float(f1_score(truth, predicted, average="micro", zero_division=0)),
    }
