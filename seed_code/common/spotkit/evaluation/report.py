"""Reports, each a single HTML file: what the data holds, and how good the trained model is.

A page loads nothing and runs no script, so it can be mailed, archived and opened anywhere. All text in it is escaped:
texts and class names are whatever the team's files hold.
"""

import base64
import html
import math
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spotkit.evaluation import plots

MAX_CHARACTERS = 1000  # of any one text
MAX_NAMED = 20  # classes or files in a list; the rest are counted
PIXELS_AN_INCH = 96  # in CSS, whatever the screen

PROBLEMS = {
    "binary": "two classes, one label each",
    "multi_class": "one label each",
    "multi_label": "any number of labels each",
}
METRICS = {
    "accuracy": ("Accuracy", "share of examples with exactly the right labels"),
    "macro_f1": ("Macro F1", "mean of the classes: rare ones count as much as common ones"),
    "micro_f1": ("Micro F1", "over all answers: common classes count more"),
    "macro_recall": ("Macro recall", "mean of the classes' recalls, also called balanced accuracy"),
    "f1": ("F1", "of the positive class, at its threshold"),
    "precision": ("Precision", "share of what was found that is right"),
    "recall": ("Recall", "share of what is there that was found"),
    "roc_auc": ("ROC AUC", "chance that right is scored above wrong; 0.5 is guessing"),
    "average_precision": ("Average precision", "mean precision over all recalls; hard on rare classes"),
    "calibration_error": ("Calibration error", "gap between confidence and accuracy; 0 is best"),
}
FIGURES = {
    "classes": "Precision, recall and F1 of each class, the lowest F1 on top.",
    "confusion": "Which class was taken for which: a row for each true class, right answers in blue, wrong ones in orange.",
    "curves": "At every threshold: what is found against false alarms (left), and how much of the found is right (right).",
    "history": "The epochs of training; the weights of the best one were kept.",
    "calibration": "Accuracy of the answers given with the same confidence. Below the diagonal, the model is too sure.",
}
WRONG_CLASSES = "True class, what it was taken for, and the score of that wrong answer."
WRONG_LABELS = "True labels, those given, and the label that is furthest on the wrong side of its threshold."
RUNS = {"train": "Train", "train_on_demand": "Train, on demand"}

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{sections}
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #636c76; --line: #d8dee4; --page: #fff; --box: #f6f8fa;
  --good: #0072b2; --bad: #b54708; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --page: #0d1117;
  --box: #161b22; --good: #56b4e9; --bad: #f0883e; } }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 56rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.8rem; line-height: 1.2; }
h2 { margin: 2.8rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); font-size: 1.3rem; }
p { margin: .6rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.lead { color: var(--soft); font-size: 1.1rem; }
.notice { padding: .5rem .9rem; border-left: 4px solid var(--soft); background: var(--box); }
.notice.good { border-color: var(--good); } .notice.bad { border-color: var(--bad); }
.grid { display: grid; gap: .8rem; margin: 1rem 0; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); }
.numbers { grid-template-columns: repeat(auto-fill, minmax(8.4rem, 1fr)); }
.pictures { grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); }
.card { margin: 0; padding: .7rem .9rem; border: 1px solid var(--line); border-radius: 8px; background: var(--box);
  overflow-wrap: anywhere; font-size: .9rem; }
.card b { display: block; font-size: 1.6rem; line-height: 1.3; white-space: nowrap; }
.card small { white-space: pre-line; }
.card small, figcaption { color: var(--soft); font-size: .85rem; }
.card figcaption { color: var(--ink); white-space: pre-line; }
.card pre + figcaption { padding-top: .4rem; border-top: 1px solid var(--line); }
.card pre { margin: 0 0 .4rem; max-height: 12rem; overflow: auto; white-space: pre-wrap; font: inherit; }
.card img { display: block; width: 100%; margin: 0 auto .4rem; aspect-ratio: 1; object-fit: contain; }
.scroll { overflow: auto; max-height: 34rem; margin: 1rem 0; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
td:first-child { min-width: 9rem; }
th { position: sticky; top: 0; background: var(--box); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; }
.plot { margin: 1rem 0; }
.plot div { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: #fff; }
.plot img { display: block; margin: 0 auto; box-sizing: border-box; padding: .6rem; }
@media print { .scroll { max-height: none; overflow: visible; } th { position: static; }
  figure, .card, tr, h2 { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def data_report(path: Path, facts: dict[str, Any], lengths: np.ndarray, samples: list[dict[str, Any]]) -> None:
    """Write the data report: classes, what was dropped and why, duplicates, sizes, samples.

    `facts` are the statistics that preprocess.py writes to data.json ("cut" may be missing); `lengths` has the size of
    every example; each sample has "labels", "where", and its "text" or a small "png".
    """
    examples, noun = sum(split["examples"] for split in facts["splits"].values()), facts.get("noun", "examples")
    write(
        path,
        "Data report",
        f"{examples:,} {noun} in {len(facts['classes'])} classes, {PROBLEMS[facts['problem']]}.",
        [
            what_there_is(facts, examples, noun),
            classes_by_split(facts, examples, noun),
            left_out(facts),
            duplicates(facts["duplicates"], facts.get("lookalikes", {}), noun),
            sizes(facts, lengths),
            section("Samples", cards(samples, [listed(sample["labels"]) for sample in samples])),
        ],
    )


def what_there_is(facts: dict[str, Any], examples: int, noun: str) -> str:
    return section(
        "What there is",
        numbers(
            [
                ("Rows read", facts["rows"], ""),
                (noun.capitalize(), examples, "in the three splits"),
                ("Classes", len(facts["classes"]), PROBLEMS[facts["problem"]]),
                ("Left out", facts["rows"] - examples, "see below for the reasons"),
                ("Repeated", facts["duplicates"]["rows"], "rows with the content of another"),
            ]
        ),
    )


def classes_by_split(facts: dict[str, Any], examples: int, noun: str) -> str:
    counts = {
        name: {label: split["classes"].get(label, 0) for label in facts["classes"]}
        for name, split in facts["splits"].items()
    }
    totals = {label: sum(split[label] for split in counts.values()) for label in facts["classes"]}
    largest_first = sorted(totals, key=lambda label: -totals[label])
    most, least = largest_first[0], largest_first[-1]
    rows = [
        [label, *(split[label] for split in counts.values()), totals[label], totals[label] / examples]
        for label in largest_first
    ]
    placed = []
    if facts.get("given"):
        placed.append(paragraph(f"The data itself says what is {' and '.join(facts['given'])}."))
    if groups := facts.get("groups"):
        placed.append(paragraph(f"Groups by {groups['column']}: {groups['count']:,}; each stands in one split."))
    absent = {name: [label for label in split if not split[label]] for name, split in counts.items()}
    return section(
        "Classes by split",
        paragraph(
            f"Each class has {totals[most]:,} {noun}."
            if totals[most] == totals[least]
            else f"The largest class, {most}, has {totals[most]:,} {noun}; the smallest, {least}, {totals[least]:,}."
        ),
        *placed,
        *(notice(f"No example in {name}: {listed(labels)}.", "bad") for name, labels in absent.items() if labels),
        figure(
            plots.class_counts(counts, noun),
            f"{noun.capitalize()} of each class in each split, the largest class on top.",
        ),
        *legend(facts["classes"]),
        table(["class", *counts, "all", "share"], rows),
    )


def left_out(facts: dict[str, Any]) -> str:
    unreadable, cut = facts["unreadable"], facts.get("cut")
    blocks = []
    if facts["dropped"]:
        rows = [[reason, count, count / facts["rows"]] for reason, count in facts["dropped"].items()]
        blocks.append(table(["reason", "rows", "share"], rows))
    if unreadable["count"]:
        blocks.append(notice(f"Could not be read: {unreadable['count']:,}, among them:", "bad"))
        blocks.append(table(["what and why"], [[example] for example in unreadable["examples"][:MAX_NAMED]]))
    if cut:
        unit = facts["size"]["name"]
        blocks.append(notice(f"Cut at {cut['limit']:,} {unit}: {cut['count']:,}. What comes after is not used."))
    return section("Left out, and why", *(blocks or [paragraph("Nothing: every row became an example.")]))


def say_lookalikes(found: dict[str, Any], noun: str) -> str:
    """Return one sentence about examples that look the same although they differ (see lookalikes.py)."""
    one, other = found["pairs"][0]
    return (
        f"{found['count']:,} of the {found['compared']:,} {noun} compared look the same as another, as {one} and {other}; "
        f"{found['pairs_across_splits']:,} pairs stand in different splits. Remove the copies, or keep them together with "
        "[data] group."
    )


def duplicates(found: dict[str, int], lookalikes: dict[str, Any], noun: str) -> str:
    looks = []
    if lookalikes.get("count"):
        looks = [notice(say_lookalikes(lookalikes, noun), "bad"), table(["looks like", "and"], lookalikes["pairs"])]
    if not found["rows"]:
        return section("Duplicates", paragraph("None: all differ."), *looks)
    blocks = [
        paragraph(
            f"Contents that occur more than once: {found['texts']:,}; rows that repeat one of them: {found['rows']:,}. "
            "Equal ones stand in the same split, so that none is both trained on and tested on."
        )
    ]
    if found["with_different_labels"]:
        blocks.append(
            notice(
                f"With different labels: {found['with_different_labels']:,}. No model gets all of those right.", "bad"
            )
        )
    return section("Duplicates", *blocks, *looks)


def sizes(facts: dict[str, Any], lengths: np.ndarray) -> str:
    size, limit, noun = facts["size"], facts.get("cut", {}).get("limit"), facts.get("noun", "examples")
    names = {"mean": "Mean", "median": "Median", "p95": "95 % have at most", "most": "Most"}
    return section(
        "Sizes",
        numbers([(name, size[key], size["name"]) for key, name in names.items()]),
        figure(
            plots.histogram(lengths, f"Size of the {noun}", size["name"], limit, noun),
            f"{noun.capitalize()} by {size['name']}.",
        ),
    )


def evaluation_report(
    path: Path, evaluation: dict[str, Any], figures: dict[str, Figure], mistakes: list[dict[str, Any]]
) -> None:
    """Write the evaluation report: the gate, the metrics, every class, the worst mistakes, and what Spot saved.

    `evaluation` is the content of evaluation.json. The gate's "threshold", "thresholds" by class and "champion" may be
    missing; the champion's "drop" is its value minus this model's. `figures` has keys of FIGURES; each mistake has
    "labels", "predicted", "score", and its "text", "png" or "where".
    """
    many = "label" in (mistakes or [{}])[0]
    sections = [
        result(evaluation),
        *([baselines(evaluation)] if evaluation["baselines"] else []),
        section(
            "Class by class",
            *drawn(figures, "classes", "confusion"),
            *legend(list(evaluation["classes"])),
            class_table(evaluation),
            *pairs(evaluation.get("confused", [])),
        ),
        section("Scores and confidence", *drawn(figures, "curves", "calibration")),
        section(
            "The most confident mistakes",
            paragraph("None." if not mistakes else WRONG_LABELS if many else WRONG_CLASSES),
            cards(mistakes, [title_of(mistake) for mistake in mistakes]),
        ),
        *([trained(evaluation["training"], figures)] if evaluation["training"] else []),
        *([training_time(evaluation["spot"])] if evaluation["spot"] else []),
    ]
    lead = f"Measured on {evaluation['test_examples']:,} test examples that training never saw."
    write(path, "Evaluation report", lead, sections)


def title_of(mistake: dict[str, Any]) -> str:
    """Return the title of a mistake: the true and the predicted labels, and the score."""
    title = f"{listed(mistake['labels'])}, taken for {listed(mistake['predicted'])}"
    if "label" not in mistake:
        return f"{title} ({mistake['score']:.3f})"
    what = "wrongly given" if mistake["given"] else "missed"
    return f"{title}\n{mistake['label']} {what}: {mistake['score']:.3f}, threshold {mistake['threshold']:.3f}"


def baselines(evaluation: dict[str, Any]) -> str:
    """Return the section with the model and the plain baselines on the same test examples."""
    metric = evaluation["gate"]["metric"]
    names = [name for name in evaluation["metrics"] if name != "calibration_error"]
    shown_names = list(dict.fromkeys([metric, *names[:4]]))
    rows = [["this model", *(evaluation["metrics"].get(name) for name in shown_names), ""]]
    notices = []
    for name, found in evaluation["baselines"].items():
        low, high = found.get("interval", (None, None))
        against = "" if low is None else f"{low:+.4f} to {high:+.4f}"
        rows.append([name, *(found["metrics"].get(one) for one in shown_names), against])
        if high is not None and high < 0:
            notices.append(notice(f"Below the baseline: {name} is better than this model, beyond chance.", "bad"))
    header = ["", *(described(name)[0] for name in shown_names), f"{described(metric)[0]} above it"]
    return section(
        "Beside plain baselines",
        paragraph(
            "Fitted in seconds on the same training examples. The last column is a 95 % interval (paired bootstrap)."
        ),
        *notices,
        table(header, rows),
    )


def pairs(confused: list[dict[str, Any]]) -> list[str]:
    """Return a table of the classes that are most often confused; [] if there are none."""
    if not confused:
        return []
    rows = [[pair["label"], pair["predicted"], pair["count"]] for pair in confused]
    return [paragraph("Most often confused:"), table(["class", "taken for", "test examples"], rows)]


def trained(training: dict[str, Any], figures: dict[str, Figure]) -> str:
    """Return the section about training: settings, duration and epochs."""
    settings = training["settings"]
    rows = [[name, "" if value is None else str(value)] for name, value in settings.items() if value not in ("", {})]
    best = next((entry["epoch"] for entry in training["history"] if entry["best"]), None)
    epochs = len(training["history"])
    return section(
        "Training",
        numbers([("Seconds", training["seconds"], "of training"), ("Epochs", epochs, f"of which {best} was the best")]),
        *drawn(figures, "history"),
        table(["setting", "value"], rows),
    )


def legend(classes: list[str]) -> list[str]:
    """Return what the numbers in the plots stand for: classes whose names have letters that the plots' font lacks."""
    numbered = plots.numbered(classes)
    return (
        [paragraph(f"In the plots: {listed([f'{name} is {label}' for name, label in numbered.items()])}.")]
        if numbered
        else []
    )


def drawn(figures: dict[str, Figure], *names: str) -> list[str]:
    """Return those of the named figures that exist: a multi_label problem has no confusion matrix."""
    return [figure(figures[name], FIGURES[name]) for name in names if name in figures]


def result(evaluation: dict[str, Any]) -> str:
    gate, champion = evaluation["gate"], evaluation.get("champion")
    blocks = []
    if "threshold" in gate:
        passed = gate["value"] >= gate["threshold"]
        value = evaluation["metrics"][gate["metric"]]
        words = f"{described(gate['metric'])[0]} is {value:.4f} and has to be at least {gate['threshold']:g}."
        if gate["value"] < value:  # refused whatever the metric is: see evaluate.gate_of
            words += f" {gate['verdict']}"
        blocks.append(notice(f"Passed. {words}" if passed else f"Not passed. {words}", "good" if passed else "bad"))
    if champion:
        worse = champion["drop"] > 0
        words = f"this one is {abs(champion['drop']):.4f} {'lower' if worse else 'higher'}."
        approved = f"The approved model, {champion['model_package']}, reaches {champion['value']:.4f} on these examples"
        blocks.append(notice(f"{approved}; {words}", "bad" if worse else "good"))
    entries = []
    for metric, value in evaluation["metrics"].items():
        name, meaning = described(metric)
        if interval := evaluation["intervals"].get(metric):
            meaning += f"\n95 %: {interval[0]:.3f} to {interval[1]:.3f}"
        entries.append((name, value, meaning))
    for most, value in evaluation.get("top", {}).items():
        entries.append((f"Top {most}", value, f"share whose class is among the {most} with the highest scores"))
    return section("Result", *blocks, numbers(entries))


def described(metric: str) -> tuple[str, str]:
    """Return a metric's title and meaning; one that a team adds to metrics.py keeps its name, without a meaning."""
    return METRICS.get(metric, (metric, ""))


def class_table(evaluation: dict[str, Any]) -> str:
    thresholds = evaluation.get("thresholds", {})
    header = ["class", "precision", "recall", "F1", "test examples", *(["threshold"] if thresholds else [])]
    rows = [
        [label, scores["precision"], scores["recall"], scores["f1-score"], int(scores["support"])]
        + ([thresholds.get(label, "")] if thresholds else [])
        for label, scores in sorted(evaluation["classes"].items(), key=lambda entry: entry[1]["f1-score"] or 0.0)
    ]
    return table(header, rows)


def training_time(spot: dict[str, dict[str, float]]) -> str:
    """Return the section on how much of the training time was billed.

    https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
    """
    rows = [
        [RUNS[name], run["training_seconds"], run["billable_seconds"], float(run["saving"])]
        for name, run in spot.items()
    ]
    blocks = [
        table(["run", "training seconds", "billable seconds", "saving"], rows),
        paragraph("saving = 1 - billable seconds / training seconds, so at 0.7 you pay 70 % less."),
    ]
    if "train_on_demand" in spot:
        billable, whole = (spot[name]["billable_seconds"] for name in ("train", "train_on_demand"))
        less = 1 - billable / whole if whole else 0.0
        blocks.append(
            notice(f"Spot against on demand: 1 - {billable:,} / {whole:,} billable seconds = {less:.4f} saved.")
        )
    return section("Training time, and what spot saved", *blocks)


def write(path: Path, title: str, lead: str, sections: list[str]) -> None:
    """Write the page; `sections` are HTML from the functions below, title and lead are plain text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page = PAGE.format(title=escape(title), lead=escape(lead), sections="\n".join(sections), style=STYLE)
    path.write_text(page, encoding="utf-8")


def escape(text: str) -> str:
    """Return text as HTML, shortened if it is long; what UTF-8 cannot encode becomes the replacement character."""
    shortened = f"{text[:MAX_CHARACTERS]} … ({len(text):,} characters)" if len(text) > MAX_CHARACTERS else text
    return html.escape(plots.UNPRINTABLE.sub("\ufffd", shortened))


def section(title: str, *blocks: str) -> str:
    """Return a heading and the HTML below it."""
    return "\n".join((f"<section>\n<h2>{escape(title)}</h2>", *blocks, "</section>"))


def paragraph(text: str) -> str:
    """Return a paragraph of text."""
    return f"<p>{escape(text)}</p>"


def notice(text: str, kind: str = "") -> str:
    """Return a highlighted paragraph; `kind` is "good", "bad" or empty."""
    return f'<p class="notice {kind}">{escape(text)}</p>'


def numbers(figures: list[tuple[str, Any, str]]) -> str:
    """Return large figures side by side, from (name, value, meaning)."""
    entries = (
        f'<div class="card">{escape(name)}<b>{escape(shown(value))}</b><small>{escape(meaning)}</small></div>'
        for name, value, meaning in figures
    )
    return f'<div class="grid numbers">{"".join(entries)}</div>'


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Return a table that scrolls in its own box; columns of numbers are right-aligned."""
    columns = zip(*rows, strict=True) if rows else header
    sides = [
        ' class="number"' if all(value is None or isinstance(value, Real) for value in column) else ""
        for column in columns
    ]

    def line(tag: str, values: list[Any]) -> str:
        cells = (f"<{tag}{side}>{escape(shown(value))}</{tag}>" for side, value in zip(sides, values, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f'<div class="scroll"><table>\n<thead>{line("th", header)}</thead>\n<tbody>\n{body}\n</tbody></table></div>'


def shown(value: Any) -> str:
    """Return a value as text: 23,486 or 0.9312 or 318.4, and a dash for what could not be measured."""
    if value is None:
        return "–"
    if isinstance(value, Integral):
        return f"{value:,}"
    if isinstance(value, Real):
        return "–" if math.isnan(value) else f"{value:.4f}" if abs(value) <= 1 else f"{value:,.1f}"
    return str(value)


def figure(figure: Figure, caption: str) -> str:
    """Return a plot, scaled down to four fifths at most; if there is less room, it scrolls in its box."""
    width = figure.get_figwidth() * PIXELS_AN_INCH
    size = f"width: min({width:.0f}px, max(100%, {0.8 * width:.0f}px))"
    image = f'<img src="{data_uri(plots.png(figure))}" alt="{escape(caption)}" style="{size}">'
    return f'<figure class="plot"><div>{image}</div><figcaption>{escape(caption)}</figcaption></figure>'


def picture(png: bytes, caption: str) -> str:
    """Return a card with one of the team's pictures."""
    caption = escape(caption)
    return (
        f'<figure class="card"><img src="{data_uri(png)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )


def quotation(text: str, caption: str) -> str:
    """Return a card with one of the team's texts."""
    return f'<figure class="card"><pre>{escape(text)}</pre><figcaption>{escape(caption)}</figcaption></figure>'


def cards(examples: list[dict[str, Any]], titles: list[str]) -> str:
    """Return the examples side by side, each with its title and where it comes from."""
    blocks = []
    for example, title in zip(examples, titles, strict=True):
        caption = "\n".join(part for part in (title, example.get("where")) if part)
        card = picture(example["png"], caption) if "png" in example else quotation(example.get("text", ""), caption)
        blocks.append(card)
    kind = "pictures" if any("png" in example for example in examples) else "texts"
    return f'<div class="grid {kind}">{"".join(blocks)}</div>'


def listed(names: list[str]) -> str:
    """Return the names in one line; if there are many, only the first and the number of others."""
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more if names else "no label"


def data_uri(png: bytes) -> str:
    """Return the picture as a data: URI, which stands where a page expects an address."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
