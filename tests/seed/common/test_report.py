"""Test report.py and plots.py: what the reports guarantee, whatever the data holds."""

import base64
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import classification_report

from spotkit.evaluation import plots, report

HOSTILE = "<script>alert('$\\frac')</script>\0\ud800"
LABELS = ["ham", "_spam", HOSTILE]
TRUTH = np.array([0, 0, 0, 1, 1, 1])  # no example of the third class
SCORES = np.array([[0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.2, 0.8, 0], [0.1, 0.9, 0], [0, 1, 0], [0, 0.7, 0.3]])
PICTURE = plots.png(Figure(figsize=(1, 1)))


@pytest.fixture(scope="module")
def data_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "report.html"
    splits = {name: {"examples": 7, "classes": {"ham": 4, "_spam": 3}} for name in ("validation", "test")}
    facts = {
        "classes": LABELS,
        "problem": "multi_class",
        "rows": 30,
        "dropped": {"empty": 2, HOSTILE: 1},
        "unreadable": {"count": 1, "examples": [f"{HOSTILE}.jpg: truncated"]},
        "duplicates": {"rows": 3, "texts": 2, "with_different_labels": 1},
        "splits": {"train": {"examples": 13, "classes": {"ham": 6, "_spam": 6, HOSTILE: 1}}, **splits},
        "size": {"name": "characters", "mean": 37.1, "median": 4.0, "p95": 10.0, "most": 1_000_000},
    }
    samples = [
        {"labels": ["ham"], "where": "a.csv, line 2", "text": HOSTILE * 30_000},
        {"labels": [], "where": "b.png", "png": PICTURE},
    ]
    report.data_report(path, facts, np.array([4, 5, 10, 1_000_000]), samples)
    return path.read_bytes().decode("utf-8")


@pytest.fixture(scope="module")
def evaluation_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "report.html"
    predicted = SCORES.argmax(axis=1)
    scores = classification_report(
        TRUTH, predicted, labels=range(3), target_names=LABELS, output_dict=True, zero_division=0
    )
    evaluation = {
        "problem": "multi_class",
        "test_examples": 6,
        "metrics": {"accuracy": 5 / 6, "macro_f1": 0.8286, "roc_auc": float("nan")},
        "gate": {"metric": "macro_f1", "value": 0.8286, "threshold": 0.9},
        "champion": {"model_package": "arn:model/7", "value": 0.8386, "drop": 0.01},
        "classes": {label: scores[label] for label in LABELS},
        "intervals": {"macro_f1": [0.7, 0.9]},
        "baselines": {
            "counting": {"metrics": {"accuracy": 0.9, "macro_f1": 0.95}, "interval": [-0.2, -0.1]},
            HOSTILE: {"metrics": {"accuracy": 0.5, "macro_f1": 0.3}, "interval": [0.3, 0.6]},
        },
        "confused": [{"label": "ham", "predicted": "_spam", "count": 1}],
        "top": {"3": 1.0},
        "training": {
            "settings": {"epochs": 2, "name": HOSTILE},
            "seconds": 61,
            "history": [{"epoch": 1, "best": False}, {"epoch": 2, "best": True}],
        },
        "spot": {
            "train": {"training_seconds": 3600, "billable_seconds": 1080, "saving": 0.7},
            "train_on_demand": {"training_seconds": 3540, "billable_seconds": 3540, "saving": 0.0},
        },
    }
    figures = {
        "confusion": plots.confusion(TRUTH, predicted, LABELS),
        "classes": plots.class_scores(scores, LABELS),
        "curves": plots.curves(SCORES, np.eye(3)[TRUTH], LABELS),
        "calibration": plots.calibration([{"confidence": 0.85, "accuracy": 5 / 6, "count": 6}]),
    }
    mistakes = [{"text": HOSTILE, "labels": ["ham"], "predicted": ["_spam"], "score": 0.8}]
    report.evaluation_report(path, evaluation, figures, mistakes)
    return path.read_bytes().decode("utf-8")


def test_pages_load_nothing_and_run_nothing(data_page, evaluation_page):
    for page in (data_page, evaluation_page):
        sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"']{10})""", page)

        assert set(sources) == {"data:image"}
        assert not re.search(r"<script|<link|@import|\son\w+=", page)


def test_text_is_escaped_and_cut(data_page, evaluation_page):
    shown = "&lt;script&gt;alert(&#x27;$\\frac&#x27;)&lt;/script&gt;\ufffd\ufffd"

    assert shown in data_page
    assert shown in evaluation_page
    assert "\0" not in data_page
    assert len(data_page) < 500_000


def test_every_class_has_its_row(data_page, evaluation_page):
    for page in (data_page, evaluation_page):
        rows = re.findall(r"<tr><td>(.*?)</td>", page)

        assert {report.escape(label) for label in LABELS} <= set(rows)


def test_every_figure_is_a_picture_in_the_page(data_page, evaluation_page):
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="[^"]+', data_page + evaluation_page)

    assert len(pictures) == 2 + 1 + 4  # the data report has two plots and a sample, the evaluation four plots
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)


def test_the_data_report_names_the_splits_that_lack_a_class(data_page):
    assert f"No example in test: {report.escape(HOSTILE)}." in data_page
    assert "No example in train" not in data_page


def test_the_evaluation_says_how_gate_and_champion_were_met(evaluation_page):
    assert "Not passed. Macro F1 is 0.8286 and has to be at least 0.9." in evaluation_page
    assert "this one is 0.0100 lower" in evaluation_page
    assert "95 %: 0.700 to 0.900" in evaluation_page


def test_the_evaluation_stands_beside_the_baselines_and_says_which_is_better(evaluation_page):
    assert "Below the baseline: counting is better than this model, beyond chance." in evaluation_page
    assert evaluation_page.count("Below the baseline") == 1
    assert "+0.3000 to +0.6000" in evaluation_page


def test_the_evaluation_shows_how_the_model_was_trained_and_what_is_confused(evaluation_page):
    assert "of which 2 was the best" in evaluation_page
    assert "<td>ham</td><td>_spam</td>" in evaluation_page
    assert "Top 3" in evaluation_page


def test_a_mistake_of_several_labels_names_the_label_with_its_score_and_threshold():
    mistake = {"labels": ["ham"], "predicted": [], "label": "ham", "given": False, "score": 0.2, "threshold": 0.31}

    assert report.title_of(mistake) == "ham, taken for no label\nham missed: 0.200, threshold 0.310"


def test_the_saving_stands_beside_its_formula(evaluation_page):
    assert "saving = 1 - billable seconds / training seconds" in evaluation_page
    assert "1 - 1,080 / 3,540 billable seconds = 0.6949 saved" in evaluation_page


def test_a_class_without_examples_has_no_curve():
    roc, _ = plots.curves(SCORES, np.eye(3)[TRUTH], LABELS).axes

    assert [text.get_text() for text in roc.get_legend().get_texts()] == ["1.000  ham", "0.889  _spam"]


@pytest.mark.parametrize("count", [2, 100])
def test_every_class_is_named_beside_its_scores_the_worst_on_top(count):
    labels = [f"class {number:02d}" for number in range(count)]
    scores = {label: dict.fromkeys(("precision", "recall", "f1-score"), 1 / (2 + i)) for i, label in enumerate(labels)}
    axes = plots.class_scores(scores, labels).axes[0]

    assert [tick.get_text() for tick in axes.get_yticklabels()] == labels[::-1]


def test_the_best_epoch_is_marked():
    epochs = [{"epoch": 1, "train_loss": 1.0, "validation_loss": 0.9}, {"epoch": 2, "train_loss": 0.5, "best": True}]
    losses = plots.history(epochs).axes[0]

    assert "best: epoch 2" in losses.get_legend_handles_labels()[1]


def test_equal_figures_are_equal_bytes():
    first, second = (plots.png(plots.histogram(np.array([28, 28]), "size", "pixels")) for _ in range(2))

    assert first == second


def test_class_names_that_the_plots_cannot_show_are_numbers_with_a_legend():
    names = ["plain", "猫", "ดี", *(f"{'a' * 40}{end}" for end in "xy")]

    called = plots.names_of(names)

    assert called["plain"] == "plain"
    assert plots.numbered(names) == {"class 4": "ดี", "class 5": "猫"}
    assert len(set(called.values())) == 5
    assert report.legend(["plain", "猫"]) == ["<p>In the plots: class 2 is 猫.</p>"]
    assert report.legend(["plain"]) == []
