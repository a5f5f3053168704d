"""Import a Lambda function's compiled modules from this machine's environment, not from the function's zip.

The zip has them for Linux on x86-64 and Python 3.12, the function's platform in AWS; here it runs on whatever is there.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder

COMPILED = ("rpds",)


class ThisMachines:
    """Meta path finder that finds the compiled modules in this environment's site-packages, before the zip's."""

    places = [place for place in sys.path if place.endswith("site-packages")]

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, cls.places) if name in COMPILED else None


sys.meta_path.insert(0, ThisMachines)
