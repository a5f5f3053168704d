"""Write a few rows as settings.toml describes them."""

import random
from pathlib import Path
from typing import Any

CENTRES = {"near": 1.0, "middle": 2.0, "far": 3.0}


def write_data(folder: Path, settings: dict[str, Any]) -> None:
    draw = random.Random(1)
    lines = ["x,y,label"]
    for label, centre in CENTRES.items():
        lines += [f"{draw.gauss(centre, 0.2)},{draw.gauss(centre, 0.2)},{label}" for _ in range(80)]
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
