"""Build what an installation uploads (assembled seeds, pipeline definitions, packages), and install it."""

import sys
from pathlib import Path

VERSION = "0.1.0"
VARIANTS = ("cv", "nlp")
ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "seed_code/common"))  # spotkit, whose checks run here as in a project's build
