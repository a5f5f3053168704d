"""Read a team's data, divide it into splits, and write them for training."""

from spotkit import overlay

__path__ = overlay(__path__, __name__)
