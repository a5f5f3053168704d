"""Score examples with a model, the same way in training, evaluation and serving."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

ITEMS_A_BATCH = 64


def batches(lengths: np.ndarray | None, count: int, size: int = ITEMS_A_BATCH) -> list[np.ndarray]:
    """Return the numbers 0 to `count` in batches; with `lengths`, sequences of similar length share a batch."""
    order = np.arange(count) if lengths is None else np.argsort(lengths, kind="stable")
    return [order[start : start + size] for start in range(0, count, size)]


@torch.inference_mode()
def score(
    classifier: Any,
    items: Any,
    rank: int = 0,
    size: int = 1,
    precision: Callable[[], Any] = torch.no_grad,
    between: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Score a dataset: softmax for binary and multi_class, sigmoid for multi_label.

    Rank `rank` of `size` takes every size-th batch. Return the sums of its scores, of shape (examples, classes), and
    the number of sequences summed per example, of shape (examples,): see `mean`. `between` is called before every
    batch.
    """
    model = classifier.model
    device = next(model.parameters()).device
    model.eval()
    examples = int(items.owner.max()) + 1
    sums = np.zeros((examples, len(classifier.labels)), dtype=np.float64)
    counts = np.zeros(examples, dtype=np.int64)
    for chosen in batches(items.lengths, len(items))[rank::size]:
        between()
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in items.batch(chosen).items()}
        with precision():
            logits = classifier.logits(model, batch).float()
        scores = logits.sigmoid() if classifier.problem == "multi_label" else logits.softmax(-1)
        # np.add.at, since an example may have several sequences in one batch; += would count only one of them.
        np.add.at(sums, items.owner[chosen], scores.double().cpu().numpy())
        np.add.at(counts, items.owner[chosen], 1)
    return sums, counts


def mean(parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return scores of shape (examples, classes) from every rank's sums: the mean over an example's sequences."""
    sums, counts = (np.sum([part[i] for part in parts], axis=0) for i in (0, 1))
    return sums / counts[:, None]


def decide(scores: np.ndarray, problem: str, thresholds: list[float] | None = None) -> np.ndarray:
    """Return the predicted class numbers (n,), or for multi_label zeros and ones (n, classes).

    `thresholds`: for binary one, of the positive class; for multi_label one for each class; 0.5 if there are none.
    """
    if problem == "multi_class":
        return scores.argmax(axis=1)
    if problem == "binary":
        return (scores[:, 1] >= (thresholds or [0.5])[0]).astype(np.int64)
    return (scores >= limits_of(scores, thresholds)).astype(np.int64)


def limits_of(scores: np.ndarray, thresholds: list[float] | None) -> np.ndarray:
    """Return the thresholds of multi_label scores, of shape (classes,); 0.5 if there are none."""
    return np.array(thresholds or [0.5] * scores.shape[1])
