"""Test train.py and its modules: an order of the data that can be resumed anywhere, atomic checkpoints, and metrics."""

import contextlib
import json
import shutil
import types

import numpy as np
import pytest
import torch

from spotkit.evaluation import bootstrap, metrics, scoring
from spotkit.training import checkpoints, train

RUN = {"epochs": 2}


def test_an_epoch_holds_every_item_once_and_the_next_one_in_another_order():
    lengths = np.random.default_rng(1).integers(1, 100, 1000)

    first, again, second = (train.batches_of_epoch(1000, lengths, 16, seed=1, epoch=e) for e in (0, 0, 1))

    assert sorted(np.concatenate(first).tolist()) == list(range(1000))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_items_of_like_length_are_batched_together():
    lengths = np.random.default_rng(1).integers(1, 100, 1000)

    batches = train.batches_of_epoch(1000, lengths, 16, seed=1, epoch=0)

    padding = sum(len(batch) * lengths[batch].max() - lengths[batch].sum() for batch in batches) / lengths.sum()
    assert padding < 0.1


def test_a_small_rest_goes_to_the_batch_before():
    assert [len(batch) for batch in train.batches_of_epoch(33, None, 16, seed=1, epoch=0)] == [16, 17]


def test_random_numbers_belong_to_the_example_and_the_epoch():
    whole = train.draw_uniform(np.arange(8), seed=1, epoch=2, count=3)

    assert torch.equal(train.draw_uniform(np.array([5]), seed=1, epoch=2, count=3)[0], whole[5])
    assert not torch.equal(train.draw_uniform(np.arange(8), seed=1, epoch=3, count=3), whole)


def test_the_learning_rate_rises_and_falls_to_nothing():
    rates = [train.learning_rate(step, 100, 1.0, 0.1) for step in range(100)]

    assert rates[0] < rates[5] < rates[10] == 1.0 > rates[50] > rates[99] > 0


@pytest.fixture
def saved(tmp_path):
    """Return a folder's checkpoints, saved at steps 1 and 2."""
    kept = checkpoints.Checkpoints(tmp_path)
    for step in (1, 2):
        kept.save(f"step-{step:09}", {"model": {"weight": torch.full((4,), float(step))}}, {"run": RUN, "step": step})
    kept.wait()
    return kept


def test_the_newest_checkpoint_is_found_and_older_ones_are_removed(saved):
    saved.save("step-000000003", {"model": {"weight": torch.zeros(4)}}, {"run": RUN, "step": 3})
    saved.wait()

    path, state = saved.newest(RUN)

    assert (state["step"], [path.name for path in saved.steps()]) == (3, ["step-000000003", "step-000000002"])
    assert checkpoints.load(path, "model")["weight"].tolist() == [0, 0, 0, 0]


def flip(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit in the weights": lambda folder: flip(folder / "model.safetensors"),
    "a flipped bit in the state": lambda folder: flip(folder / "state.json", 5),
    "a flipped bit in the manifest": lambda folder: flip(folder / "manifest.json", 30),
    "weights cut short": lambda folder: (folder / "model.safetensors").write_bytes(b"1234"),
    "empty weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "an empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_with_a_line(saved, damage, capsys):
    DAMAGE[damage](saved.folder / "step-000000002")

    _, state = saved.newest(RUN)

    assert state["step"] == 1
    assert "checkpoint step-000000002 is passed over" in capsys.readouterr().out


def test_the_checkpoint_of_another_run_is_passed_over(saved, capsys):
    assert saved.newest({"epochs": 3}) is None
    assert "it is of another run: epochs was 2, and is 3" in capsys.readouterr().out


def test_a_checkpoint_that_was_being_written_is_no_checkpoint(saved):
    partial = saved.folder / "partial-step-000000003"
    shutil.copytree(saved.folder / "step-000000002", partial)

    again = checkpoints.Checkpoints(saved.folder)

    assert again.newest(RUN)[1]["step"] == 2
    assert not partial.exists()


def test_thresholds_are_those_with_the_best_f1_on_the_validation_split():
    scores = np.linspace(0, 1, 101)[:, None] * np.array([[-1, 1]]) + np.array([[1, 0]])
    truth = (scores[:, 1] > 0.295).astype(int)

    (threshold,) = metrics.tune_thresholds(scores, truth, "binary", "f1")

    assert 0.29 <= threshold <= 0.3
    assert metrics.measure(scores, truth, "binary", [threshold])["f1"] == 1


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "macro_recall", "f1"])
def test_the_threshold_of_two_classes_is_the_best_there_is_for_the_metric(metric):
    chance = np.random.default_rng(1)
    truth = (chance.random(300) < 0.2).astype(int)
    positive = np.round(0.3 * truth + 0.7 * chance.random(300), 1)
    scores = np.stack([1 - positive, positive], axis=1)

    tuned = metrics.tune_thresholds(scores, truth, "binary", metric)

    reached = [metrics.measure(scores, truth, "binary", [t])[metric] for t in (*np.unique(positive), 1.01)]
    assert metrics.measure(scores, truth, "binary", tuned)[metric] == pytest.approx(max(reached))


@pytest.mark.parametrize("metric", ["accuracy", "micro_f1"])
def test_thresholds_of_several_labels_are_tuned_together_where_the_metric_needs_it(metric):
    chance = np.random.default_rng(1)
    truth = (chance.random((400, 4)) < [0.5, 0.3, 0.1, 0.05]).astype(int)
    scores = np.clip(0.25 * truth + 0.75 * chance.random((400, 4)), 0, 1)

    of_each, together = (metrics.tune_thresholds(scores, truth, "multi_label", m) for m in ("macro_f1", metric))

    alone, tuned = (metrics.measure(scores, truth, "multi_label", found)[metric] for found in (of_each, together))
    assert tuned > alone


def test_a_class_with_few_examples_keeps_the_threshold_of_one_half():
    scores, truth = np.linspace(0, 1, 50)[:, None], np.zeros((50, 1), dtype=int)
    truth[-9:] = 1

    assert metrics.tune_thresholds(scores, truth, "multi_label", "macro_f1") == [0.5]


def test_rare_classes_weigh_more_where_they_are_to_be_balanced():
    truth, labels = np.array([0] * 9 + [1]), ["ham", "spam"]

    balanced = train.class_weights("balanced", truth, labels)

    assert balanced * [9, 1] == pytest.approx([5, 5])
    assert train.class_weights("none", truth, labels) is None
    assert train.class_weights({"spam": 4.0}, truth, labels).tolist() == [1, 4]
    assert train.class_weights("balanced", np.array([[1, 0], [1, 1], [1, 0], [0, 0]]), labels) == pytest.approx(
        [1 / 3, 3]
    )
    with pytest.raises(ValueError, match=r"names 'spma'. The classes are: ham, spam"):
        train.class_weights({"spma": 4.0}, truth, labels)


def test_a_weighted_class_has_a_larger_part_in_the_loss():
    logits, labels = torch.zeros(2, 2), torch.tensor([0, 1])

    plain = train.loss_of(logits, labels, "multi_class")
    weighted = train.loss_of(logits, labels, "multi_class", torch.tensor([1.0, 3.0]))

    assert weighted / plain == pytest.approx(2)


def test_the_parts_of_a_batch_have_the_gradients_of_the_whole():
    torch.manual_seed(1)
    model, inputs, labels = torch.nn.Linear(3, 2), torch.randn(7, 3), torch.tensor([0, 1, 0, 1, 1, 0, 1])
    gradients = []
    for parts in (1, 3):
        model.zero_grad()
        training = types.SimpleNamespace(
            arithmetic=contextlib.nullcontext,
            chosen={"label_smoothing": 0.0, "accumulate": parts, "seed": 1},
            classifier=types.SimpleNamespace(logits=lambda model, inputs: model(inputs["x"]), problem="multi_class"),
            model=model,
            weights=None,
            scaler=torch.amp.GradScaler("cpu", enabled=False),
            group=types.SimpleNamespace(size=1),
            loss=torch.zeros(()),
        )
        for part in torch.arange(7).tensor_split(parts):
            train.Training.learn_from(training, {"x": inputs[part]}, labels[part], 7)
        gradients.append(model.weight.grad.clone())

    assert torch.allclose(*gradients)


def test_what_is_frozen_computes_as_in_serving():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 2))
    model.requires_grad_(False)
    model[2].requires_grad_(True)
    model.train()

    train.keep_frozen(model)

    assert [part.training for part in model] == [False, True, True]


def test_other_weights_than_a_job_would_have_are_never_loaded(tmp_path):
    there, absent = tmp_path / "there", tmp_path / "absent"
    there.mkdir()

    assert train.pretrained_folder(there, "s3://bucket/weights") == there
    assert train.pretrained_folder(absent, str(there)) == there
    assert train.pretrained_folder(absent, "hub") is None
    with pytest.raises(ValueError, match="make local PRETRAINED=weights"):
        train.pretrained_folder(absent, "s3://bucket/weights")
    with pytest.raises(ValueError, match="which is no folder here"):
        train.pretrained_folder(absent, str(absent))


def test_the_learning_rate_falls_along_half_a_cosine():
    rates = [train.learning_rate(step, 100, 1.0, 0.0, "cosine") for step in range(100)]

    assert rates[0] == 1
    assert rates[50] == pytest.approx(0.5)
    assert rates[25] > 0.85
    assert 0 < rates[99] < 0.001


def test_resampled_figures_are_those_of_the_metrics_and_lie_in_their_interval():
    chance = np.random.default_rng(1)
    for problem, truth in (
        ("multi_class", chance.integers(0, 3, 200)),
        ("binary", chance.integers(0, 2, 200)),
        ("multi_label", (chance.random((200, 3)) < 0.3).astype(int)),
    ):
        classes = 2 if problem == "binary" else 3
        scores = np.round(0.3 * metrics.one_hot(truth, classes) + chance.random((200, classes)), 2) / 2  # with ties
        scores = scores if problem == "multi_label" else scores / scores.sum(axis=1, keepdims=True)
        judged = bootstrap.Judged(scores, truth, problem, None)

        once = judged.measure(np.ones(200))
        found, above = bootstrap.intervals(judged, {"the same": judged}, "macro_f1")

        measured = metrics.measure(scores, truth, problem)
        assert once == pytest.approx({name: measured[name] for name in once})
        assert once.keys() == measured.keys() - {"calibration_error"}
        assert all(low <= measured[name] <= high and high - low < 0.25 for name, (low, high) in found.items())
        assert above == {"the same": [0, 0]}


def test_an_answer_follows_the_threshold_of_its_class():
    scores = np.array([[0.4, 0.6], [0.1, 0.3]])

    assert scoring.decide(scores, "multi_label", [0.35, 0.7]).tolist() == [[1, 0], [0, 0]]
    assert scoring.decide(scores, "binary", [0.25]).tolist() == [1, 1]


def test_figures_are_json():
    measured = metrics.measure(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), "multi_class")

    assert json.loads(json.dumps(measured))["macro_f1"] == 1
