"""From this repository to what an installation uploads: assembled seeds, definitions, packages."""

from pathlib import Path

VERSION = "0.1.0"
VARIANTS = ("cv", "nlp")
ROOT = Path(__file__).parent.parent
