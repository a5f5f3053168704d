"""Import the modules of a landed seed into this process, preprocess data with them, and set up a training run."""

import argparse
import contextlib
import copy
import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from build.assemble import assemble, edit_settings, write

MODULES = {
    "checkpoints": "spotkit.training.checkpoints",
    "distributed": "spotkit.training.distributed",
    "examples": "spotkit.data.examples",
    "preprocess": "spotkit.data.preprocess",
    "settings": "spotkit.settings",
    "task": "task",
    "train": "spotkit.training.train",
}

Changes = dict[str, dict[str, Any]]


@contextlib.contextmanager
def landed(variant: str, changes: Changes) -> Iterator[SimpleNamespace]:
    """Write a landed repository with changed settings; yield its `folder`, its modules, and its settings as `chosen`.

    Its spotkit and task.py take the place of any that were imported before, and give it back on exit.
    """
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "landed"
        write(assemble(variant), repository)
        edit_settings(repository / "settings.toml", changes)
        before, path = take_modules(), list(sys.path)
        sys.path.insert(0, str(repository))
        try:
            modules = {name: importlib.import_module(module) for name, module in MODULES.items()}
            yield SimpleNamespace(folder=repository, chosen=modules["settings"].load(), **modules)
        finally:
            take_modules()
            sys.modules.update(before)
            sys.path[:] = path


def take_modules() -> dict[str, Any]:
    """Remove spotkit and task from sys.modules, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] in ("spotkit", "task")]
    return {name: sys.modules.pop(name) for name in names}


def prepare(seed: SimpleNamespace, data: Path) -> Path:
    """Run preprocess.py on `data`; return the folder of the splits."""
    output = seed.folder / "prepared"
    with contextlib.redirect_stdout(sys.stderr):
        seed.preprocess.main(["--data", str(data), "--output", str(output)])
    return output


def training(seed: SimpleNamespace, prepared: Path) -> Any:
    """Return train.py's Training before its first step, on preprocessed splits, with the model of the settings.

    Its model is in training mode.
    """
    import torch

    torch.manual_seed(1)
    splits = {name: seed.examples.Prepared(prepared / name) for name in ("train", "validation")}
    group = seed.distributed.Group()
    classifier = seed.task.Classifier.create(seed.chosen, splits["train"], None)
    items = seed.train.tokenised(classifier, splits, seed.folder / "items", group)
    arguments = argparse.Namespace(
        checkpoints=seed.folder / "checkpoints",
        **{name: seed.chosen["training"][name] for name in seed.settings.TUNABLE},
    )
    never = SimpleNamespace(requested=False)
    chosen = copy.deepcopy(seed.chosen)  # another run may have other settings
    run = seed.train.Training(classifier, items, arguments, chosen, group, never)
    with contextlib.redirect_stdout(sys.stderr):
        run.resume()
    run.model.train()
    return run
