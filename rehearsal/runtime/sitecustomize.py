"""Stands in for Lambda's platform: a function's compiled modules are this machine's.

A zip holds them for Linux on x86-64 and Python 3.12, where the function runs in AWS; here it runs on whatever is there.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder

COMPILED = ("rpds",)


class ThisMachines:
    """Finds the compiled modules where the rest of this environment is, before the zip is looked into."""

    places = [place for place in sys.path if place.endswith("site-packages")]

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, cls.places) if name in COMPILED else None


sys.meta_path.insert(0, ThisMachines)
