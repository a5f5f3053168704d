"""Test preprocess.py: what the splits guarantee."""

import json

import numpy as np
import pytest

from spotkit.data import examples, preprocess
from spotkit.data.examples import Example, Prepared, Unreadable

DATA = {
    "problem": "multi_class",
    "positive": "",
    "label_separator": "",
    "labels": {},
    "balance": False,
    "group": "",
    "limit": 0,
    "validation_share": 0.15,
    "test_share": 0.2,
    "seed": 1,
}


def plan_of(keys_and_labels: list[tuple[str, str]], **data) -> dict[str, list[str]]:
    """Return the keys of each split, and those that are dropped."""
    chosen = DATA | data
    survey = preprocess.Survey()
    for number, (key, label) in enumerate(keys_and_labels):
        survey.add(Example(key, label.split("_") if label else [], f"row {number}", None), chosen)
    plan, _ = preprocess.draw_plan(survey, chosen)
    sides: dict[str, list[str]] = {name: [] for name in (*preprocess.SPLITS, "left out")}
    for key in sorted({key for key, _ in keys_and_labels}):
        sides[(*preprocess.SPLITS, "left out")[plan.side(examples.hash64(key))]].append(key)
    return sides


def test_every_class_is_in_every_split(report):
    classes = {name: sorted(split["classes"]) for name, split in report["splits"].items()}

    assert classes == {name: sorted(report["classes"]) for name in ("train", "validation", "test")}


def test_no_example_is_in_two_splits(prepared):
    rows = {
        name: {split[i]["where"] for i in range(len(split))}
        for name, split in ((name, Prepared(prepared / name)) for name in ("train", "validation", "test"))
    }

    assert rows["train"]
    assert rows["validation"]
    assert rows["test"]
    assert not rows["train"] & rows["test"]
    assert not rows["train"] & rows["validation"]
    assert not rows["validation"] & rows["test"]


def test_the_report_is_a_page_and_a_file_of_facts(prepared, report):
    assert (prepared / "report/data.html").read_text().startswith("<!doctype html>")
    assert report["rows"] == sum(split["examples"] for split in report["splits"].values())


def test_each_class_is_divided_in_its_share():
    sides = plan_of([(f"a{i}", "a") for i in range(100)] + [(f"b{i}", "b") for i in range(20)])

    counts = {name: [sum(key[0] == label for key in keys) for label in "ab"] for name, keys in sides.items()}
    assert counts == {"train": [65, 13], "validation": [15, 3], "test": [20, 4], "left out": [0, 0]}


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_reading():
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(60)]

    assert plan_of(rows) == plan_of(rows[::-1]) != plan_of(rows, seed=2)


def test_a_text_with_two_labels_stands_on_one_side_and_is_reported():
    survey = preprocess.Survey()
    for number in range(60):
        survey.add(Example(f"text {number % 30}", ["ab"[number // 30]], f"row {number}", None), DATA)

    plan, double = preprocess.draw_plan(survey, DATA)

    assert len(plan.keys) == 30
    assert double == {"rows": 30, "texts": 30, "with_different_labels": 30}


def test_a_balanced_split_leaves_out_what_is_more_than_the_smallest_class_has():
    sides = plan_of([(f"a{i}", "a") for i in range(100)] + [(f"b{i}", "b") for i in range(20)], balance=True)

    assert len(sides["left out"]) == 52  # from train alone: validation and test stay as they are, for the gate
    assert len(sides["train"]) == 26


def test_rare_sets_of_labels_are_divided_together():
    rows = [(f"x{i}", "a") for i in range(40)] + [(f"y{i}", f"a_{i}") for i in range(20)]

    sides = plan_of(rows, problem="multi_label", label_separator="_")

    assert sum(key[0] == "y" for key in sides["test"]) == 4


def test_of_two_classes_the_positive_one_is_number_one():
    survey = preprocess.Survey()
    for label in ("spam", "no spam"):
        survey.add(Example(label, [label], label, None), DATA)

    assert preprocess.name_classes(survey, DATA | {"problem": "binary"}) == ["no spam", "spam"]
    assert preprocess.name_classes(survey, DATA | {"problem": "binary", "positive": "no spam"})[1] == "no spam"


def test_too_many_unreadable_examples_stop_preprocessing_and_are_named():
    survey = preprocess.Survey()
    survey.add(Unreadable("cat/3.jpg", "truncated"), DATA)

    with pytest.raises(ValueError, match="1 of 50 examples cannot be read, more than .*0.01.*cat/3.jpg: truncated"):
        preprocess.check_readable(survey.unreadable, 50, 0.01)


def test_an_error_on_the_way_leaves_no_half_written_file(tmp_path):
    path = tmp_path / "train/part-000.arrow"

    def write_half() -> None:
        with examples.Writer(path, {"text": ""}, {}) as writer:
            writer.add({"text": "a"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()

    assert not list(path.parent.iterdir())


def test_examples_come_in_an_order_of_their_own_whoever_wrote_them(tmp_path):
    about = {"labels": ["a", "b"], "problem": "multi_class", "facts": {}}
    rows = [{"text": str(i), "labels": [i % 2], "id": 7919 * i % 20, "where": str(i)} for i in range(20)]
    for folder, parts in (("one", [rows]), ("two", [rows[::2], rows[1::2]])):
        for number, part in enumerate(parts):
            with examples.Writer(tmp_path / folder / f"part-{number:03}.arrow", rows[0], about) as writer:
                for row in part:
                    writer.add(row)

    one, two = Prepared(tmp_path / "one"), Prepared(tmp_path / "two")

    assert [one[i] for i in range(20)] == [two[i] for i in range(20)]
    assert np.array_equal(one.truth, two.truth)


def test_the_report_names_what_was_dropped(report):
    assert json.dumps(report["dropped"]) == "{}"
