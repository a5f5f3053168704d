"""Generate pipeline_json/<variant>.json from the assembled seeds, with the example account's names."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from build import ROOT, VARIANTS
from build.assemble import assemble, write

FOLDER = ROOT / "pipeline_json"


def generate(variant: str) -> str:
    """The definition that the assembled seed writes. Raises ValueError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        seed = Path(folder) / variant
        write(assemble(variant), seed)
        # Nothing of this machine's environment but where programs are: the build's variables would change the result.
        environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "pipeline.py"], cwd=seed, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ValueError(f"pipeline.py of {variant} failed:\n{done.stderr.strip()}")
    return done.stdout


def write_all() -> list[Path]:
    """Write every variant's definition and answer the paths."""
    FOLDER.mkdir(exist_ok=True)
    paths = []
    for variant in VARIANTS:
        path = FOLDER / f"{variant}.json"
        path.write_text(generate(variant))
        paths.append(path)
    return paths
