"""The figures of both reports. Every function returns a matplotlib Figure; `png` encodes it.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish; markers and dashes differ as well.
"""

import io
import re
from collections import Counter
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from sklearn.metrics import auc, average_precision_score, confusion_matrix, precision_recall_curve, roc_curve

BLUE, ORANGE, GREEN, PINK, AMBER, SKY = COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FAINT = "#d5d5d5"
WIDTH = 9.0  # inches
MAX_CURVES, WORST_CURVES = 10, 5
MAX_ROWS = 100  # classes in a plot; the tables list all
MAX_LETTERS = 28  # of a class name on an axis
# Control characters, which fonts cannot draw, and lone surrogates, which UTF-8 cannot encode.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
THOUSANDS = StrMethodFormatter("{x:,.0f}")


def confusion(truth: np.ndarray, predicted: np.ndarray, labels: list[str]) -> Figure:
    """Plot which class was predicted for which, in percent of the true class: right in blue, wrong in orange.

    `truth` and `predicted` are class numbers of shape (n,).
    """
    count = len(labels)
    shares = confusion_matrix(truth, predicted, labels=range(count), normalize="true")
    size, font = (2.8 + 0.45 * count, 9) if count <= 20 else (5 + 0.16 * count, 7)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    right = np.eye(count, dtype=bool)
    for cells, colors in ((right, "Blues"), (~right, "Oranges")):
        # The square root makes a few percent of mistakes visible.
        axes.imshow(np.ma.masked_where(~cells | (shares == 0), shares), cmap=colors, norm=PowerNorm(0.5, 0, 1.2))
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title("percent of each true class", loc="left", fontsize=10)
    names = list(names_of(labels).values())
    too_long = 0.09 * max(map(len, names)) > (size - 1.5) / count  # a name's and a column's width, in inches
    axes.set_xticks(range(count), names, fontsize=font, parse_math=False, rotation=90 if too_long else 0)
    axes.set_yticks(range(count), names, fontsize=font, parse_math=False)
    axes.set_xticks(np.arange(count - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(count - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=FAINT, linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(FAINT)
    digits = 1 if count <= 5 else 0
    if count <= 50:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005 / 10**digits:
                color = "white" if share > 0.5 else "black"
                place = {"ha": "center", "va": "center"}
                axes.text(column, row, f"{100 * share:.{digits}f}", color=color, fontsize=font - 1, **place)
    return figure


def class_scores(report: dict[str, dict[str, float]], labels: list[str]) -> Figure:
    """Plot precision, recall and F1 of every class, the lowest F1 on top.

    `report` maps class names to what scikit-learn's classification_report(output_dict=True) returns for each. Classes
    without test examples, whose F1 is None, are skipped.
    """
    called = names_of(labels)
    tested = [label for label in labels if report[label]["f1-score"] is not None]
    worst_first = sorted(tested, key=lambda label: report[label]["f1-score"])[:MAX_ROWS]
    names = {"precision": "precision", "recall": "recall", "f1-score": "F1"}
    figure, axes = dots(
        [called[label] for label in worst_first],
        {name: [report[label][key] for label in worst_first] for key, name in names.items()},
    )
    least = min(report[label][key] for label in worst_first for key in names)
    axes.set_xlim(max(np.floor(10 * least - 0.5) / 10, -0.02), 1.02)
    return figure


def class_counts(counts: dict[str, dict[str, int]], noun: str = "examples") -> Figure:
    """Plot the number of examples (called `noun`) of every class in every split, the largest class on top.

    The scale is logarithmic if class sizes differ more than 20-fold. `counts` is split -> class -> examples; a class
    that a split lacks counts as 0.
    """
    totals: dict[str, int] = {}
    for split in counts.values():
        for label, number in split.items():
            totals[label] = totals.get(label, 0) + number
    called = names_of(list(totals))
    largest_first = sorted(totals, key=lambda label: -totals[label])[:MAX_ROWS]
    figure, axes = dots(
        [called[label] for label in largest_first],
        {name: [split.get(label, 0) for label in largest_first] for name, split in counts.items()},
    )
    most = max(number for split in counts.values() for number in split.values())
    if max(totals.values()) > 20 * min(totals.values()):
        axes.set_xscale("symlog", linthresh=1)  # unlike "log", it can show 0
        axes.set(xlim=(-0.2, 1.5 * most), xlabel=f"{noun} (log scale)")
    else:
        axes.set(xlim=(-0.02 * most, 1.04 * most), xlabel=noun)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(THOUSANDS)
    return figure


def dots(labels: list[str], series: dict[str, list[float]]) -> tuple[Figure, Axes]:
    """Plot a row for each label, the first on top, with a dot for its value in each series."""
    row, font = (0.32, 9) if len(labels) <= 20 else (0.17, 7)
    figure = Figure(figsize=(WIDTH, 1.1 + row * len(labels)), layout="constrained")
    axes = tidy(figure.subplots())
    places = np.arange(len(labels))
    values = np.array(list(series.values()))
    axes.hlines(places, values.min(axis=0), values.max(axis=0), color=FAINT, linewidth=2, zorder=1)
    for (name, numbers), color, marker in zip(series.items(), COLORS, "os^", strict=False):
        axes.plot(numbers, places, marker, color=color, label=name, markersize=0.75 * font, alpha=0.9)
    axes.set_yticks(places, labels, fontsize=font, parse_math=False)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="x", labeltop=len(labels) > 20)
    figure.legend(loc="outside upper left", ncols=len(series), frameon=False, fontsize=9)
    return figure, axes


def calibration(bins: list[dict[str, float]]) -> Figure:
    """Plot the reliability diagram of Guo et al. 2017: does a confidence of 0.8 mean right in 8 of 10 cases?

    Each bin has the mean "confidence", the "accuracy" and the "count" of its predictions; the expected calibration
    error is the gap between the first two, averaged over all predictions. https://arxiv.org/abs/1706.04599
    """
    filled = [entry for entry in bins if entry["count"]]
    confidence, accuracy, count = (
        np.array([entry[key] for entry in filled]) for key in ("confidence", "accuracy", "count")
    )
    figure = Figure(figsize=(6, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    tidy(upper).plot([0, 1], [0, 1], "--", color="#888888", linewidth=1, label="confidence = accuracy")
    upper.vlines(confidence, confidence, accuracy, color=ORANGE, linewidth=3, alpha=0.5, label="gap", zorder=1)
    # A dot's area shows the number of predictions: a few of them prove little.
    upper.scatter(confidence, accuracy, s=np.maximum(400 * count / count.sum(), 8), color=BLUE, zorder=2)
    error = np.average(np.abs(accuracy - confidence), weights=count)
    upper.set_title(f"expected calibration error {error:.3f}", loc="left", fontsize=10)
    upper.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="accuracy")
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    tidy(lower).bar(confidence, count, width=0.04, color=BLUE)  # narrow enough to fit the axes at a confidence of 1
    lower.set(xlabel="confidence", ylabel="answers")
    lower.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    lower.yaxis.set_major_formatter(THOUSANDS)
    return figure


def curves(scores: np.ndarray, truth: np.ndarray, labels: list[str]) -> Figure:
    """Plot ROC on the left and precision over recall on the right, with the areas below the curves.

    `scores` (0 to 1) and `truth` (0 or 1) have the shape (n, classes). If there are more than 10 classes, plot their
    micro average and the 5 with the lowest average precision. A class without a positive or a negative example has no
    curve.
    """
    drawable = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    names = list(names_of(labels).values())
    lines = [(names[number], truth[:, number], scores[:, number]) for number in drawable]
    if len(lines) > MAX_CURVES:
        worst = sorted(lines, key=lambda line: average_precision_score(line[1], line[2]))[:WORST_CURVES]
        lines = [("micro average", truth[:, drawable].ravel(), scores[:, drawable].ravel()), *worst]
    figure = Figure(figsize=(WIDTH, 4.2 + 0.17 * len(lines)), layout="constrained")
    left, right = (tidy(axes) for axes in figure.subplots(1, 2))
    left.plot([0, 1], [0, 1], "--", color="#888888", linewidth=1)
    looks = product(("-", "--"), ("black", *COLORS))
    for (name, true, score), (dash, color) in zip(lines, looks, strict=False):
        line = {"color": color, "linestyle": dash, "linewidth": 1.6}
        false_rate, true_rate, _ = roc_curve(true, score)
        left.plot(false_rate, true_rate, label=f"{auc(false_rate, true_rate):.3f}  {name}", **line)
        precision, recall, _ = precision_recall_curve(true, score, drop_intermediate=True)
        right.plot(recall, precision, label=f"{average_precision_score(true, score):.3f}  {name}", **line)
    left.set(xlabel="false positive rate", ylabel="true positive rate")
    right.set(xlabel="recall", ylabel="precision")
    for axes, area in ((left, "ROC: area under the curve"), (right, "Precision and recall: average precision")):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_title(area, loc="left", fontsize=10)
        if not lines:
            axes.text(0.5, 0.6, "no class has examples for and against", ha="center", fontsize=9)
            continue
        legend = axes.legend(loc="upper left", bbox_to_anchor=(-0.03, -0.14), frameon=False, fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def history(history: list[dict[str, Any]]) -> Figure:
    """Plot loss and validation metrics by epoch; the entry with "best": True is the model that is kept."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    losses, quality = (tidy(axes) for axes in figure.subplots(1, 2))
    lines = (
        (losses, "train_loss", "training", BLUE, "o-"),
        (losses, "validation_loss", "validation", ORANGE, "s--"),
        (quality, "validation_accuracy", "accuracy", BLUE, "o-"),
        (quality, "validation_macro_f1", "macro F1", ORANGE, "s--"),
    )
    size = 5 if len(history) <= 30 else 0
    for axes, key, name, color, style in lines:
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        axes.plot(*np.array(points).reshape(-1, 2).T, style, color=color, markersize=size, label=name)
    losses.set_title("loss", loc="left", fontsize=10)
    quality.set_title("validation", loc="left", fontsize=10)
    losses.set_ylim(0, 1.1 * max(entry.get(key, 0) for entry in history for key in ("train_loss", "validation_loss")))
    best = next((entry["epoch"] for entry in history if entry.get("best")), None)
    for axes in (losses, quality):
        if best is not None:
            axes.axvline(best, color=GREEN, linewidth=5, alpha=0.25, zorder=0, label=f"best: epoch {best:g}")
        axes.set(xlabel="epoch", xlim=(history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(frameon=False, fontsize=9)
    return figure


def histogram(values: np.ndarray, title: str, unit: str, limit: float | None = None, noun: str = "examples") -> Figure:
    """Plot the distribution of `values` (whole numbers from 0), with a line where `limit` cuts.

    The scale is logarithmic if the tail is long.
    """
    low = max(int(values.min()), 1)  # a log scale cannot show 0
    high = max(int(values.max()), low) + 1
    long_tail = high > 10 * max(np.median(values), 1)
    step = np.ceil((high - low) / 60)
    # Integer edges: other bins would hold one value here and two there, and the outline would look like a comb.
    edges = np.unique(np.geomspace(low, high, 40).round()) if long_tail else np.arange(low, high + step, step)
    figure = Figure(figsize=(WIDTH, 3), layout="constrained")
    axes = tidy(figure.subplots())
    axes.hist(np.maximum(values, low), bins=edges - 0.5, color=BLUE, edgecolor="white", linewidth=0.3)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set(xlabel=f"{unit} (log scale)" if long_tail else unit, ylabel=noun)
    if long_tail:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(THOUSANDS)
    if limit is not None and limit < high:  # otherwise it cuts no example
        axes.axvline(limit, color=ORANGE, linestyle="--")
        note = f" limit {limit:,.0f}, reached by {np.sum(values >= limit):,} "
        side = "left" if limit < np.median(values) else "right"
        axes.text(limit, 1.0, note, transform=axes.get_xaxis_transform(), color=ORANGE, ha=side, va="top")
    return figure


def tidy(axes: Axes) -> Axes:
    """Remove the box, make the grid faint, and return the axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(color=FAINT, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9)
    return axes


def names_of(labels: list[str]) -> dict[str, str]:
    """Return the name of each class on an axis: its own, shortened if there is no room, or a number.

    Shortened names that would be equal also keep their ends, and then get a number. A number stands for a name with
    letters that the font lacks (`numbered` lists these).
    """
    numbers = {label: number for number, label in enumerate(sorted(labels), 1)}
    cut = {label: short(label) for label in labels}
    times = Counter(cut.values())
    found = {label: name if times[name] == 1 else both_ends(label) for label, name in cut.items()}
    times = Counter(found.values())
    names = {}
    for label, name in found.items():
        told = name if times[name] == 1 else f"{name} ({numbers[label]})"
        names[label] = told if is_drawable(name) else f"class {numbers[label]}"
    return names


def numbered(labels: list[str]) -> dict[str, str]:
    """Return the classes that plots show by a number: the name in the plots -> the class."""
    names = names_of(labels)
    return {
        name: label
        for label, name in names.items()
        if not is_drawable(short(label) + both_ends(label)) and name != label
    }


def short(label: str) -> str:
    """Return the beginning of a class name, as far as there is room on an axis."""
    name = " ".join(UNPRINTABLE.sub("\ufffd", label).split())
    return name if len(name) <= MAX_LETTERS else name[: MAX_LETTERS - 1] + "…"


def both_ends(label: str) -> str:
    """Return the beginning and the end of a class name that does not fit."""
    name = " ".join(UNPRINTABLE.sub("\ufffd", label).split())
    return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS // 2]}…{name[1 - MAX_LETTERS // 2 :]}"


@cache
def letters() -> frozenset[int]:
    """Return the code points in the font that plots are drawn with."""
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def is_drawable(text: str) -> bool:
    return all(ord(letter) in letters() for letter in text)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG, sharp on high-resolution screens; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()
