"""Build what an installation uploads (assembled seeds, pipeline definitions, packages), and install it."""

from pathlib import Path

VERSION = "0.1.0"
VARIANTS = ("cv", "nlp")
ROOT = Path(__file__).parent.parent
