"""Test task.py: the model of your settings, a batch, and a request."""

import json

import numpy as np
import pytest

import task
from spotkit import settings
from spotkit.data import examples
from spotkit.serving import inference


@pytest.fixture(scope="module")
def classifier(prepared):
    chosen = settings.load()
    if chosen["model"]["weights"] != "scratch":  # tests download nothing
        chosen["model"] = {"name": "distilbert", "weights": "scratch", "config": {"n_layers": 1, "dim": 48}}
        chosen["task"]["max_tokens"] = 64
    return task.Classifier.create(chosen, examples.Prepared(prepared / "train"), None)


def test_the_model_that_your_settings_name_can_be_had():
    task.check_model(settings.load()["model"])

    with pytest.raises(ValueError, match="weights is 'hub', which does not have it"):
        task.check_model({"name": "ngrams", "weights": "hub", "config": {}})


def test_a_batch_is_padded_to_its_longest_text_and_masked(classifier):
    batch = classifier.items_of_request([{"text": "late"}, {"text": "the parcel came three days late"}]).batch(
        np.array([0, 1])
    )

    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["attention_mask"][0].sum() < batch["attention_mask"][1].sum() == batch["input_ids"].shape[1]


def test_a_saved_model_answers_as_the_one_in_memory(classifier, tmp_path):
    classifier.save(tmp_path)

    loaded = inference.model_fn(str(tmp_path))

    rows = inference.input_fn(json.dumps({"inputs": ["where is my parcel", "thank you"]}), "application/json")
    assert inference.predict_fn(rows, loaded) == inference.predict_fn(rows, classifier)


def test_a_request_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match="content type image/png is not served"):
        task.decode(b"", "image/png")
