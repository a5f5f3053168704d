"""What the plain baseline sees of a picture: 8 x 8 pixels, and how often each of 64 colours occurs."""

from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from examples import Prepared

NAME = "8 x 8 pixels and colours with logistic regression"
SIDE, LEVELS = 8, 4


def features() -> Any:
    """What brings the contents to one scale, learned from those of training."""
    return StandardScaler()


def contents(prepared: Prepared, rows: range) -> np.ndarray:
    """Numbers of shape (pictures, 3 * 8 * 8 + 64)."""
    size = prepared.facts["stored_size"]
    found = [measured(np.frombuffer(prepared[row]["image"], dtype=np.uint8).reshape(size, size, 3)) for row in rows]
    return np.stack(found)


def measured(pixels: np.ndarray) -> np.ndarray:
    """The numbers of one picture, of shape (side, side, 3)."""
    edges = np.linspace(0, len(pixels), SIDE + 1).astype(int)[:-1] if len(pixels) >= SIDE else np.arange(len(pixels))
    sums = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), edges, axis=0), edges, axis=1)
    counts = np.diff(np.append(edges, len(pixels)))
    small = sums / (counts[:, None] * counts)[:, :, None]
    colours = (pixels.reshape(-1, 3) // (256 // LEVELS)).astype(int) @ (LEVELS**2, LEVELS, 1)
    return np.append(small.ravel(), np.bincount(colours, minlength=LEVELS**3) / len(colours))
