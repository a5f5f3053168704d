"""Train: the loop, checkpoints, several processes, tracking."""

from spotkit import overlay

__path__ = overlay(__path__, __name__)
