"""Build what an installation uploads (assembled seeds, pipeline definitions, packages), and install it."""

import sys
from pathlib import Path

from build.variants import find

VERSION = "0.2.0"
ROOT = Path(__file__).parent.parent
VARIANTS = find(ROOT / "seed_code")
sys.path.append(str(ROOT / "seed_code/common"))  # spotkit, whose checks run here as in a project's build
