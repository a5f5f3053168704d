"""What preprocessing promises about the splits."""

import json

from examples import Prepared


def test_every_class_is_in_every_split(report):
    classes = {name: sorted(split["classes"]) for name, split in report["splits"].items()}

    assert classes == {name: report["classes"] for name in ("train", "validation", "test")}


def test_no_example_is_in_two_splits(prepared):
    rows = {
        name: {json.dumps(split[i], default=str) for i in range(len(split))}
        for name, split in ((name, Prepared(prepared / name)) for name in ("train", "validation", "test"))
    }

    assert rows["train"] and rows["validation"] and rows["test"]
    assert not rows["train"] & rows["test"] and not rows["train"] & rows["validation"]
    assert not rows["validation"] & rows["test"]
