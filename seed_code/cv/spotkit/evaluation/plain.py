"""Features of an image for the plain baseline: 8 x 8 pixels, and how often each of 64 colours occurs."""

from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from spotkit.data.examples import Prepared

NAME = "8 x 8 pixels and colours with logistic regression"
SIDE, LEVELS = 8, 4  # pixels on a side; levels of each colour channel: 4**3 = 64 colours


def features() -> Any:
    """Return the scaler that standardises the features; baseline.py fits it on the training split."""
    return StandardScaler()


def contents(prepared: Prepared, rows: range) -> np.ndarray:
    """Return the features of these rows: (rows, 8 * 8 * 3 + 64)."""
    size = prepared.facts["stored_size"]
    found = [measured(np.frombuffer(prepared[row]["image"], dtype=np.uint8).reshape(size, size, 3)) for row in rows]
    return np.stack(found)


def measured(pixels: np.ndarray) -> np.ndarray:
    """Return the features of one image (side, side, 3): (8 * 8 * 3 + 64,), fewer if its side is below 8."""
    edges = np.linspace(0, len(pixels), SIDE + 1).astype(int)[:-1] if len(pixels) >= SIDE else np.arange(len(pixels))
    # Sum the pixels of each cell: (8, 8, 3). Cells differ in size where the side is not a multiple of 8.
    sums = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), edges, axis=0), edges, axis=1)
    counts = np.diff(np.append(edges, len(pixels)))
    small = sums / (counts[:, None] * counts)[:, :, None]
    # Number each pixel's colour from 0 to 63, by the level of each channel.
    colours = (pixels.reshape(-1, 3) // (256 // LEVELS)).astype(int) @ (LEVELS**2, LEVELS, 1)
    return np.append(small.ravel(), np.bincount(colours, minlength=LEVELS**3) / len(colours))
