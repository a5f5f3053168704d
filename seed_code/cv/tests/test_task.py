"""Test task.py: what the model sees in training and in evaluation, and a request."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import task
from spotkit import settings
from spotkit.data import examples
from spotkit.evaluation import scoring
from spotkit.serving import inference


@pytest.fixture(scope="module")
def classifier(prepared):
    chosen = settings.load()
    chosen["model"]["weights"] = "scratch"  # tests download nothing
    return task.Classifier.create(chosen, examples.Prepared(prepared / "train"), None)


def png(side: int) -> bytes:
    """Return the bytes of a grey square."""
    content = io.BytesIO()
    Image.new("L", (side, side), 128).save(content, "PNG")
    return content.getvalue()


def test_evaluation_sees_the_middle_and_training_any_part(classifier):
    size, stored = (settings.load()["task"][name] for name in ("size", "stored_size"))
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (8, stored, stored, 3), dtype=np.uint8))
    random = torch.rand(8, 4, generator=torch.Generator().manual_seed(1))

    cut = classifier.augment({"images": images}, random)["images"]

    assert cut.shape == (8, size, size, 3)
    assert torch.equal(cut, classifier.augment({"images": images}, random)["images"])
    margin = (stored - size) // 2
    middle = images[:, margin : margin + size, margin : margin + size]
    seen = []
    classifier.logits(lambda batch: seen.append(batch), {"images": images})
    assert torch.equal(seen[0], middle)


def test_a_picture_is_served_as_it_was_evaluated(classifier, data, prepared, tmp_path):
    classifier.save(tmp_path)
    test = examples.Prepared(prepared / "test")
    evaluated = scoring.mean([scoring.score(classifier, classifier.items(test, tmp_path))])

    loaded = inference.model_fn(str(tmp_path))
    body = (data / test[0]["where"]).read_bytes()
    served = inference.predict_fn(inference.input_fn(body, "image/png"), loaded)[0]["scores"]

    expected = dict(zip(classifier.labels, evaluated[0].round(6).tolist(), strict=True))
    assert served == pytest.approx(expected, abs=2e-5)


def test_a_bad_picture_of_several_is_named(classifier):
    good, bad = {"file": png(9)}, {"file": b"no picture"}

    with pytest.raises(ValueError, match="item 2: not a picture that can be decoded"):
        inference.predict_fn([good, bad], classifier)
    with pytest.raises(ValueError, match="item 2: a picture of the request is not base64"):
        task.decode(b'["", "!"]', "application/json")
