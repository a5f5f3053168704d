"""Generate pipeline_json/<variant>.json from the assembled seeds, with the names of an example account."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from build import ROOT, VARIANTS
from build.assemble import assemble, write

FOLDER = ROOT / "pipeline_json"


def generate(variant: str) -> str:
    """Return the pipeline definition that the assembled seed's pipeline.py prints. Raise ValueError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        seed = Path(folder) / variant
        write(assemble(variant), seed)
        # Pass on only PATH: variables of a build, such as PROJECT_BUCKET, would change the definition.
        environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "pipeline.py"], cwd=seed, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ValueError(f"pipeline.py of {variant} failed:\n{done.stderr.strip()}")
    return done.stdout


def write_all() -> list[Path]:
    """Write every variant's definition to pipeline_json/; return the paths."""
    FOLDER.mkdir(exist_ok=True)
    paths = []
    for variant in VARIANTS:
        path = FOLDER / f"{variant}.json"
        path.write_text(generate(variant))
        paths.append(path)
    return paths
