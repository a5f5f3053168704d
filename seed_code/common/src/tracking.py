"""Where the figures of training go."""

from pathlib import Path
from typing import Any


class Tracker:
    def log(self, figures: dict[str, float], step: int) -> None:
        print(" ".join(f"{name}={value:.4f}" for name, value in figures.items()), flush=True)

    def state(self) -> dict[str, Any]:
        return {}

    def resume(self, state: dict[str, Any]) -> None:
        pass

    def finish(self, files: list[Path]) -> None:
        pass
