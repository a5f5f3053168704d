"""What a plain model reaches on the same split: fitted by preprocess.py in seconds, read by evaluate.py.

A network that does not beat logistic regression on the features of plain.py is not worth its GPU.
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

from spotkit.data.examples import Prepared
from spotkit.evaluation import plain

FILE = "baseline.npz"
MAX_EXAMPLES = 20_000  # training examples to fit on, at most
ROWS_A_PIECE = 2_000
MAJORITY = "always the commonest class"


@dataclass(frozen=True)
class Fitted:
    """The fitted baseline; `columns` holds the class numbers that its scores are for."""

    features: Any
    regression: Any
    columns: np.ndarray

    def scores(self, prepared: Prepared) -> np.ndarray:
        """Return scores of shape (examples, classes); 0 for classes that were not fitted."""
        found = np.zeros((len(prepared), len(prepared.labels)), dtype=np.float32)
        for start in range(0, len(prepared), ROWS_A_PIECE):
            rows = range(start, min(start + ROWS_A_PIECE, len(prepared)))
            seen = self.features.transform(plain.contents(prepared, rows))  # (rows, features)
            found[rows.start : rows.stop, self.columns] = self.regression.predict_proba(seen)
        return found


def fit(train: Prepared) -> Fitted | None:
    """Fit the baseline to MOST training examples at most; return None if nothing can be learned from them."""
    rows = range(min(len(train), MAX_EXAMPLES))  # in the order of hashes, so the first rows are a random sample
    truth = train.truth[: len(rows)]
    several = train.problem == "multi_label"
    # The classes that can be learned. For multi_label, not those that all or none of the examples have.
    columns = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)) if several else np.unique(truth)
    if len(columns) < (1 if several else 2):
        return None
    features, regression = plain.features(), LogisticRegression(C=10, max_iter=100, tol=1e-3)
    try:
        seen = features.fit_transform(plain.contents(train, rows))
    except ValueError:  # the vocabulary is empty: no word occurs in two texts
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if several:
            regression = OneVsRestClassifier(regression).fit(seen, truth[:, columns].astype(int))
        else:
            regression.fit(seen, truth)
    return Fitted(features, regression, columns)


def write(output: Path, group: Any, facts: dict[str, Any]) -> str:
    """Fit the baseline, score both other splits, and write FILE beside the test split; return a line for the log.

    All instances of the job have to call this. The first one fits, on its own part of the training split; each scores
    its own parts. `facts` are the statistics of the data report.
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
    # The scores of the majority baseline, for every example the same: (classes,)
    found: dict[str, np.ndarray] = {"share": np.array(counts) / whole["examples"]}
    for name in ("validation", "test") if fitted else ():
        part = parts[name]
        mine = (part.table["id"].to_numpy()[part.order], fitted.scores(part), part.truth) if part else None
        ids, scores, truth = map(np.concatenate, zip(*filter(None, group.gather(mine)), strict=True))
        # By id, as Prepared orders them: the same for any number of instances.
        order = np.argsort(ids, kind="stable")
        found[name] = scores[order]
        if name == "validation":  # to tune thresholds; evaluate.py has the test split's labels itself
            found["validation_truth"] = truth[order]
    if group.first:
        np.savez(output / "test" / FILE, **found)
    done = f"{plain.NAME}, {time.monotonic() - started:.0f} s" if fitted else "none: too few examples to fit one"
    return f"baseline: {done}"


def read(test: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the baselines by name, each with its scores; {} if an older version prepared the split and fitted none.

    "test" and "validation" are of shape (examples, classes), with "validation_truth"; a baseline that scores all
    examples alike has "share" instead, of shape (classes,).
    """
    if not (test / FILE).exists():
        return {}
    with np.load(test / FILE, allow_pickle=False) as stored:
        found = dict(stored)
    share = found.pop("share")
    if "test" not in found:
        return {MAJORITY: {"share": share}}
    return {MAJORITY: {"share": share}, plain.NAME: found}
