"""95 % intervals for the metrics of a test split, by the bootstrap: how far chance could move them (Efron 1979)."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from sklearn.metrics import auc

from spotkit.evaluation import metrics, scoring

RESAMPLES = 400
INSIDE = (2.5, 97.5)  # percentiles: a 95 % interval
MAX_RANKED = 20_000_000  # scores; with more, ROC AUC and average precision get no interval


class Judged:
    """Scores and predictions for a test split, whose metrics can be measured again for any weights of its examples.

    A bootstrap resample is nothing but weights: how many times each example is drawn. So a resample costs a few matrix
    products, and no copy of the data.
    """

    def __init__(self, scores: np.ndarray, truth: np.ndarray, problem: str, thresholds: list[float] | None):
        predicted = scoring.decide(scores, problem, thresholds)
        self.scores, self.problem, classes = scores, problem, scores.shape[1]
        self.truth = metrics.one_hot(truth, classes)
        self.predicted = metrics.one_hot(predicted, classes)
        # truth and predicted: (examples, classes), zeros and ones
        self.right = (self.truth == self.predicted).all(axis=1).astype(float)
        self.hits = (self.truth & self.predicted).astype(float)

    def measure(self, weights: np.ndarray) -> dict[str, float]:
        """Return the metrics of `metrics.measure`, except for calibration, with example i counted weights[i] times."""
        # Per class: true positives, positives, predicted positives; each of shape (classes,)
        hits, there, given = (weights @ each for each in (self.hits, self.truth, self.predicted))
        present = there > 0  # macro averages skip the other classes, as in metrics.measure
        f1 = 2 * hits / np.maximum(there + given, 1e-12)
        recall, precision = hits / np.maximum(there, 1e-12), hits / np.maximum(given, 1e-12)
        found = {
            "accuracy": weights @ self.right / weights.sum(),
            "macro_f1": f1[present].mean() if present.any() else 0.0,
            "micro_f1": 2 * hits.sum() / max(there.sum() + given.sum(), 1e-12),
            "macro_recall": recall[present].mean() if present.any() else 0.0,
        }
        if self.problem == "binary":
            found |= {"f1": f1[1], "precision": precision[1], "recall": recall[1]}
        return {name: float(value) for name, value in (found | self.ranking(weights)).items()}

    def ranking(self, weights: np.ndarray) -> dict[str, float]:
        """Return ROC AUC and average precision; {} if there are more than MAX_RANKED scores.

        They are means over the classes that have positive and negative examples; for binary, those of class 1 alone.
        """
        if self.truth.size > MAX_RANKED:
            return {}
        columns = [1] if self.problem == "binary" else range(self.truth.shape[1])
        areas, averages = [], []
        for column in columns:
            order, ends = self.ranks[column]
            weight = weights[order]
            # True positives, and all that are taken, with the threshold at each distinct score.
            hits = np.cumsum(weight * self.truth[order, column])[ends]
            seen = np.cumsum(weight)[ends]
            others = seen - hits  # false positives
            if hits[-1] > 0 and others[-1] > 0:
                recall = np.append(0, hits) / hits[-1]
                areas.append(auc(np.append(0, others) / others[-1], recall))
                averages.append((np.diff(recall) * hits / np.maximum(seen, 1e-12)).sum())
        return {"roc_auc": np.mean(areas), "average_precision": np.mean(averages)} if areas else {}

    @cached_property
    def ranks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each class, the examples by descending score, and the last position of each run of equal scores."""
        found = []
        for column in self.scores.T:
            order = np.argsort(-column, kind="stable")
            ends = np.append(np.flatnonzero(np.diff(column[order])), len(order) - 1)
            found.append((order, ends))
        return found


def resamples(examples: int) -> Iterator[np.ndarray]:
    """Yield weights of shape (examples,): how many times each example is drawn. They are the same in every call."""
    generator = np.random.Generator(np.random.Philox(key=[0, examples]))
    for _ in range(RESAMPLES):
        yield np.bincount(generator.integers(0, examples, examples), minlength=examples).astype(float)


def intervals(
    judged: Judged, others: dict[str, Judged], metric: str
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return 95 % intervals of all metrics, and of how far `metric` is above that of each other model.

    The comparison is paired: each resample measures all models on the same examples.
    """
    drawn: dict[str, list[float]] = {}
    above: dict[str, list[float]] = {name: [] for name in others}
    for weights in resamples(len(judged.right)):
        found = judged.measure(weights)
        for name, value in found.items():
            drawn.setdefault(name, []).append(value)
        for name, other in others.items():
            against = other.measure(weights)
            if metric in found and metric in against:
                above[name].append(found[metric] - against[metric])
    return (
        {name: np.percentile(values, INSIDE).tolist() for name, values in drawn.items()},
        {name: np.percentile(values, INSIDE).tolist() for name, values in above.items() if values},
    )
