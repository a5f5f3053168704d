"""Test settings.py: what cannot be meant is refused in one line."""

import copy

import pytest

from spotkit import settings


@pytest.mark.parametrize(
    "change, said",
    [
        ({"ranges": {"dropout": [0, 1]}}, "dropout is nothing to search. Choose from: learning_rate, weight_decay, "),
        ({"ranges": {"learning_rate": [0.1, 0.01]}}, "learning_rate goes from 0.1 to 0.01. Put the lesser one first."),
        ({"ranges": {"learning_rate": [0, 0.01]}}, "learning_rate has 0. It must be between 1e-09 and 10.0."),
        ({"ranges": {"batch_size": [8, 16.5]}}, "batch_size has 16.5, which is not of type int."),
        ({"ranges": {"batch_size": ["8", "many"]}}, "batch_size has 'many', which is no number."),
        ({"ranges": {"epochs": 3}}, r"epochs is 3. Give \[least, most\], or a list to choose from."),
        ({"jobs": 2, "ranges": {}}, r"\[tuning.ranges\] is empty"),
        ({"jobs": 2, "parallel_jobs": 3}, r"parallel_jobs is 3, more than jobs \(2\)"),
        (
            {"objective": "test_accuracy"},
            r"\[tuning\] objective is 'test_accuracy'. Choose one of: validation_macro_f1",
        ),
        ({"early_stopping": 1}, "early_stopping is 1, which is not of type bool"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused_in_one_line(change, said):
    chosen = copy.deepcopy(settings.load())
    chosen["compute"].update(mode="spot", training_instance_count=1)
    chosen["tuning"].update(change)

    with pytest.raises(ValueError, match=said):
        settings.check(chosen)


@pytest.mark.parametrize(
    "change, said", [({"mode": "compare"}, "mode is 'compare'"), ({"training_instance_count": 2}, "instance")]
)
def test_a_search_goes_with_one_training_on_one_instance(change, said):
    chosen = copy.deepcopy(settings.load())
    chosen["tuning"]["jobs"] = 2
    chosen["compute"].update({"mode": "spot", "training_instance_count": 1} | change)

    with pytest.raises(ValueError, match=said):
        settings.check(chosen)
