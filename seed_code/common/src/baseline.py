"""What a plain model reaches on the same split: fitted by preprocess.py in seconds, read by evaluate.py.

A network that is no better than logistic regression over what plain.py counts is not worth its GPU.
"""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

import plain
from examples import Prepared

FILE = "baseline.npz"
MOST = 20_000  # training examples that it is fitted on
ROWS_A_PIECE = 2_000
MAJORITY = "always the commonest class"


@dataclass(frozen=True)
class Fitted:
    """The plain model, with the numbers of the classes that its scores are of."""

    features: Any
    regression: Any
    columns: np.ndarray

    def scores(self, prepared: Prepared) -> np.ndarray:
        """Scores of shape (examples, classes)."""
        found = np.zeros((len(prepared), len(prepared.labels)), dtype=np.float32)
        for start in range(0, len(prepared), ROWS_A_PIECE):
            rows = range(start, min(start + ROWS_A_PIECE, len(prepared)))
            seen = self.features.transform(plain.contents(prepared, rows))
            found[rows.start : rows.stop, self.columns] = self.regression.predict_proba(seen)
        return found


def fit(train: Prepared) -> Fitted | None:
    """Fit the plain model to training examples, MOST at most; None where nothing can be learned from them."""
    rows = range(min(len(train), MOST))  # their order is that of hashes
    truth = train.truth[: len(rows)]
    several = train.problem == "multi_label"
    columns = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)) if several else np.unique(truth)
    if len(columns) < (1 if several else 2):
        return None
    features, regression = plain.features(), LogisticRegression(C=10, max_iter=100, tol=1e-3)
    try:
        seen = features.fit_transform(plain.contents(train, rows))
    except ValueError:  # no word occurs twice
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if several:
            regression = OneVsRestClassifier(regression).fit(seen, truth[:, columns].astype(int))
        else:
            regression.fit(seen, truth)
    return Fitted(features, regression, columns)


def write(output: Path, group: Any, facts: dict[str, Any]) -> str:
    """Fit and score what was prepared, each instance its own part of it, and write FILE beside the test split.

    The first instance's training examples are what is fitted; `facts` are those of the data report. Answers a line that
    says what was done.
    """
    started = time.monotonic()
    parts = {
        name: Prepared(output / name) if any((output / name).glob("part-*.arrow")) else None
        for name in ("train", "validation", "test")
    }
    train = parts["train"]
    fitted = group.gather(fit(train) if group.first and train else None)[0]
    whole = facts["splits"]["train"]
    counts = [whole["classes"].get(label, 0) for label in facts["classes"]]
    found: dict[str, np.ndarray] = {"share": np.array(counts) / whole["examples"]}
    for name in ("validation", "test") if fitted else ():
        part = parts[name]
        mine = (part.table["id"].to_numpy()[part.order], fitted.scores(part), part.truth) if part else None
        ids, scores, truth = map(np.concatenate, zip(*filter(None, group.gather(mine)), strict=True))
        order = np.argsort(ids, kind="stable")
        found[name] = scores[order]
        if name == "validation":  # thresholds are tuned on it; the evaluation has the test split itself
            found["validation_truth"] = truth[order]
    if group.first:
        np.savez(output / "test" / FILE, **found)
    done = f"{plain.NAME}, {time.monotonic() - started:.0f} s" if fitted else "none: too few examples to fit one"
    return f"baseline: {done}"


def read(test: Path) -> dict[str, dict[str, np.ndarray]]:
    """The baselines by name, each with its scores of the "test" split and, where it has any, of "validation" with
    "validation_truth"; none where the split was prepared by a version that fitted none.
    """
    if not (test / FILE).exists():
        return {}
    with np.load(test / FILE, allow_pickle=False) as stored:
        found = dict(stored)
    share = found.pop("share")
    if "test" not in found:
        return {MAJORITY: {"share": share}}
    return {MAJORITY: {"share": share}, plain.NAME: found}
