"""src/task.py has all that spotkit asks of it: see spotkit/protocols.py."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch

import task
from spotkit import protocols, settings
from spotkit.data.examples import Prepared


def members(protocol: type) -> list[str]:
    """Return the names that a protocol asks for."""
    own = [
        name for name, value in vars(protocol).items() if inspect.isfunction(value) or isinstance(value, classmethod)
    ]
    return [name for name in {*own, *protocol.__annotations__} if not name.startswith("_") or name == "__len__"]


def parameters(function: Any) -> list[str]:
    """Return the names of a function's required parameters, without self and cls."""
    found = inspect.signature(function).parameters.values()
    return [each.name for each in found if each.name not in ("self", "cls") and each.default is each.empty]


@pytest.mark.parametrize(
    ("protocol", "offered"),
    [(protocols.Task, task), (protocols.Classifier, task.Classifier)],
    ids=["Task", "Classifier"],
)
def test_every_member_is_there_and_takes_what_it_is_given(protocol, offered):
    functions = [name for name in members(protocol) if name not in protocol.__annotations__]
    optional = ["augment"] if getattr(offered, "num_draws", 0) == 0 else []

    constants = [
        name for name, kind in protocol.__annotations__.items() if protocol is protocols.Task or "ClassVar" in str(kind)
    ]
    missing = [name for name in [*functions, *constants] if not hasattr(offered, name) and name not in optional]
    assert missing == []
    asked = {name: parameters(getattr(protocol, name)) for name in functions if name not in optional}
    assert {name: parameters(getattr(offered, name)) for name in asked} == asked


def test_a_split_becomes_batches_and_batches_become_logits(prepared, tmp_path):
    train = Prepared(prepared / "train")
    classifier = task.Classifier.create(settings.load(), train, None)

    dataset = classifier.items(train, tmp_path / "scratch")

    again = classifier.mapped_items(train, tmp_path / "scratch")
    first = np.arange(min(4, len(dataset)))
    batch = dataset.batch(first)
    assert len(again) == len(dataset) == len(dataset.owner)
    assert dataset.lengths is None or len(dataset.lengths) == len(dataset)
    assert all(torch.equal(batch[name], tensor) for name, tensor in again.batch(first).items())
    if classifier.num_draws:
        batch = classifier.augment(batch, torch.rand(len(first), classifier.num_draws))
    assert classifier.logits(classifier.model, batch).shape == (len(first), len(train.labels))
    assert isinstance(
        classifier.last_layer() if settings.load()["model"]["freeze"] else classifier.model, torch.nn.Module
    )


def test_a_saved_classifier_is_the_same_when_it_is_loaded(prepared, tmp_path):
    train = Prepared(prepared / "train")
    classifier = task.Classifier.create(settings.load(), train, None)
    (tmp_path / "model").mkdir()

    classifier.save(tmp_path / "model")
    loaded = task.Classifier.load(tmp_path / "model")

    assert (loaded.labels, loaded.problem, loaded.facts) == (classifier.labels, classifier.problem, classifier.facts)
    weights = loaded.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in classifier.model.state_dict().items())
    assert not [path.name for path in (tmp_path / "model").rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
