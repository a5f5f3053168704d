"""The metrics that a model is judged by, the same in training, evaluation and the gate."""

from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from spotkit.evaluation.scoring import decide

MIN_TO_TUNE = 10  # positive examples needed to tune a threshold; with fewer it stays at 0.5
SWEEPS = 3  # passes over the classes, for a metric that depends on all thresholds together
BINS = 15  # of confidence


def one_hot(truth: np.ndarray, classes: int) -> np.ndarray:
    """Return zeros and ones of shape (n, classes), from class numbers (n,) or from what has that shape already."""
    return truth.astype(np.int64) if truth.ndim == 2 else np.eye(classes, dtype=np.int64)[truth]


def tune_thresholds(scores: np.ndarray, truth: np.ndarray, problem: str, metric: str) -> list[float]:
    """Return the thresholds with the best `metric` on the validation split, as `decide` takes them; [] for multi_class.

    Some metrics do not depend on a threshold; others, such as precision and recall, are perfect at an extreme one. For
    these, return the thresholds with the best F1: of the positive class, or of each class.
    """
    if problem == "multi_class":
        return []
    positive = one_hot(truth, scores.shape[1]) == 1
    if problem == "binary":
        goal = GOALS.get(metric, f1_of_cuts)
        return [Cuts(scores[:, 1], positive[:, 1]).best(goal)]
    cuts = [Cuts(scores[:, column], positive[:, column]) for column in range(scores.shape[1])]
    thresholds = [one.best(f1_of_cuts) for one in cuts]
    for _ in range(SWEEPS if metric in ("micro_f1", "accuracy") else 0):  # one class at a time, the others fixed
        for column, one in enumerate(cuts):
            given = scores >= np.array(thresholds)
            others = np.arange(scores.shape[1]) != column
            if metric == "micro_f1":
                hits = (given & positive)[:, others].sum()
                both = given[:, others].sum() + positive[:, others].sum()
                thresholds[column] = one.best(partial(f1_of_cuts, hits=hits, both=both))
            else:  # exact match: only where all other labels are right does this one matter
                open_ = (given == positive)[:, others].all(axis=1)
                thresholds[column] = Cuts(scores[open_, column], positive[open_, column]).best(GOALS["accuracy"])
    return thresholds


class Cuts:
    """The places where a threshold can cut the scores of one class.

    `taken` is the number of examples above each cut; `hits` of them are positive.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray):
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1) if len(falling) else np.empty(0, int)
        # Cut 0 takes no example; every other cut takes all examples down to one of the distinct scores.
        self.taken = np.append(0, last + 1)
        self.hits = np.append(0, np.cumsum(positive[order]))[self.taken]
        # Cut i is at any threshold between levels[i] and levels[i + 1].
        self.levels = np.concatenate(([1.0], falling[last], [0.0]))
        self.positive, self.count = int(positive.sum()), len(positive)

    def best(self, goal: Callable[["Cuts"], np.ndarray]) -> float:
        """Return the threshold of the cut where `goal` is greatest: halfway to the next lower score, to generalise.

        Return 0.5 if there are fewer than MIN_TO_TUNE positive examples, or no others.
        """
        if self.positive < MIN_TO_TUNE or self.positive == self.count:
            return 0.5
        best = int(goal(self).argmax())
        return float(self.levels[best] + self.levels[best + 1]) / 2


def f1_of_cuts(cuts: Cuts, hits: int = 0, both: int = 0) -> np.ndarray:
    """Return F1 at each cut; for micro F1, together with the other classes.

    Those have `hits` true positives, and `both` labels: the predicted and the true ones, added.
    """
    return 2 * (cuts.hits + hits) / np.maximum(cuts.taken + cuts.positive + both, 1)


def accuracy_of_cuts(cuts: Cuts) -> np.ndarray:
    """Return the accuracy at each cut."""
    return (2 * cuts.hits - cuts.taken - cuts.positive + cuts.count) / cuts.count


def recall_of_cuts(cuts: Cuts) -> np.ndarray:
    """Return the mean of both classes' recall at each cut."""
    others = cuts.count - cuts.positive  # negative examples
    return (cuts.hits / cuts.positive + (others - cuts.taken + cuts.hits) / others) / 2


def macro_f1_of_cuts(cuts: Cuts) -> np.ndarray:
    """Return the mean of both classes' F1 at each cut."""
    right = cuts.count - cuts.positive - cuts.taken + cuts.hits  # true negatives
    return (f1_of_cuts(cuts) + 2 * right / np.maximum(2 * cuts.count - cuts.taken - cuts.positive, 1)) / 2


GOALS = {
    "accuracy": accuracy_of_cuts,
    "micro_f1": accuracy_of_cuts,  # equals accuracy if each example has one label
    "macro_recall": recall_of_cuts,
    "macro_f1": macro_f1_of_cuts,
}


def measure(
    scores: np.ndarray, truth: np.ndarray, problem: str, thresholds: list[float] | None = None
) -> dict[str, float]:
    """Return accuracy (for multi_label: exact matches), F1, and the metrics that need no threshold, all in 0..1.

    Averages over the classes skip those without an example in the split: they say nothing about the model.
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
    # Ranking metrics need positive and negative examples of a class; for binary, only class 1 counts.
    both = [column for column in present if not indicators[:, column].all()]
    both = [column for column in both if column == 1] if problem == "binary" else both
    if both:
        found["roc_auc"] = np.mean([roc_auc_score(indicators[:, c], scores[:, c]) for c in both])
        found["average_precision"] = np.mean([average_precision_score(indicators[:, c], scores[:, c]) for c in both])
    found["calibration_error"] = sum(
        one["count"] * abs(one["accuracy"] - one["confidence"]) for one in calibration(scores, truth, problem)
    ) / (scores.size if problem == "multi_label" else len(scores))
    # NaN (no class of the split has an example) counts as 0.
    return {name: float(np.nan_to_num(value)) for name, value in found.items()}


def calibration(scores: np.ndarray, truth: np.ndarray, problem: str) -> list[dict[str, float]]:
    """Return mean confidence, accuracy and count of the predictions in each of 15 bins of confidence (Guo et al. 2017).

    A prediction is the class with the highest score; for multi_label, every class of an example is one, with its own
    score. Empty bins are dropped.
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
