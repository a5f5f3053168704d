"""Find pictures that look the same although they differ: saved again, scaled, or brightened."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

MAX_COMPARED = 10_000
# Correlation of two thumbnails. Measured: at least 0.996 for copies that were saved as JPEG of quality 20, at half the
# size, or with noise; for different pictures at most 0.993 (10,000 MNIST digits) and 0.873 (600 birds of CUB-200).
MIN_CORRELATION = 0.995
MIN_CONTRAST = 4.0  # standard deviation, in grey levels: flatter thumbnails correlate by chance
ROWS_PER_PIECE = 1_000


@dataclass
class Thumbnails:
    """Thumbnails of the MAX_COMPARED examples with the smallest ids: one random sample for any number of instances."""

    kept: list[tuple[int, str, str, str, np.ndarray]] = field(default_factory=list)  # id, key, split, where, thumbnail
    bound: int = 2**64  # ids from here on are not kept

    def add(self, example_id: int, key: str, split: str, where: str, thumbnail: np.ndarray) -> None:
        self.kept.append((example_id, key, split, where, thumbnail))
        if len(self.kept) >= 2 * MAX_COMPARED:
            self.shorten()

    def join(self, other: "Thumbnails") -> None:
        self.kept.extend(other.kept)
        self.shorten()

    def shorten(self) -> None:
        self.kept = sorted(self.kept, key=lambda entry: entry[0])[:MAX_COMPARED]
        if len(self.kept) == MAX_COMPARED:
            self.bound = self.kept[-1][0]


def report(thumbnails: Thumbnails) -> dict[str, Any]:
    """Return how many examples were compared, how many look like another, and the pairs, those across splits first.

    Equal pictures are not counted: they share a key, and are reported as duplicates.
    """
    thumbnails.shorten()
    pairs = find(thumbnails)
    kept = thumbnails.kept
    across = [(one, other) for one, other in pairs if kept[one][2] != kept[other][2]]
    inside = [(one, other) for one, other in pairs if kept[one][2] == kept[other][2]]
    return {
        "compared": len(kept),
        "count": len({one for pair in pairs for one in pair}),
        "pairs_across_splits": len(across),
        "pairs": [[kept[one][3], kept[other][3]] for one, other in [*across, *inside]],
    }


def find(thumbnails: Thumbnails) -> list[tuple[int, int]]:
    """Return pairs of indices into `kept`: an example, and the most similar one before it."""
    if not thumbnails.kept:
        return []
    keys = np.unique([key for _, key, _, _, _ in thumbnails.kept], return_inverse=True)[1]
    values = np.stack([thumbnail.ravel() for *_, thumbnail in thumbnails.kept]).astype(np.float32)  # (examples, pixels)
    # With zero mean and unit length, the product of two rows is their correlation.
    values -= values.mean(axis=1, keepdims=True)
    flat = values.std(axis=1) < MIN_CONTRAST
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    values[flat] = 0  # correlates with nothing
    pairs = []
    for start in range(0, len(values), ROWS_PER_PIECE):
        stop = min(start + ROWS_PER_PIECE, len(values))
        correlation = values[start:stop] @ values[:stop].T  # (piece, examples up to its end)
        # Ignore duplicates, which have equal keys, and all but earlier examples.
        correlation[keys[start:stop, None] == keys[None, :stop]] = 0
        correlation[np.arange(start, stop)[:, None] <= np.arange(stop)[None, :]] = 0
        nearest = correlation.argmax(axis=1)
        for row in np.flatnonzero(correlation[np.arange(stop - start), nearest] >= MIN_CORRELATION).tolist():
            pairs.append((start + row, int(nearest[row])))
    return pairs
