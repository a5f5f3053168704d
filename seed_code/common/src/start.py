"""Install what requirements.txt lists and the image lacks, then become the script that is named.

The first process of every job (`python3 start.py train.py`). It replaces itself, so that the script gets SageMaker's
signals itself: a spot interruption announces itself by SIGTERM.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

CODE = Path(__file__).parent


def name_of(requirement: str) -> str:
    """The package that a line of a requirements file names, as distributions write it."""
    return re.split(r"[=<>~!\[; ]", requirement)[0].lower().replace("_", "-")


def missing(requirements: Path) -> list[str]:
    """The lines of a requirements file whose package is not installed in any version."""
    lines = [line.split("#")[0].strip() for line in requirements.read_text().splitlines()]
    installed = {dist.metadata["Name"].lower().replace("_", "-") for dist in importlib.metadata.distributions()}
    return [line for line in lines if line and name_of(line) not in installed]


if __name__ == "__main__":
    if wanted := missing(CODE / "requirements.txt"):
        print(f"installing {', '.join(wanted)}", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-input", *wanted], check=True)
    script = str(CODE / sys.argv[1])
    os.execv(sys.executable, [sys.executable, script, *sys.argv[2:]])
