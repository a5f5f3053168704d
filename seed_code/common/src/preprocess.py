"""Turn the team's data into three splits that training maps into memory.

Run it locally:  python src/preprocess.py --data sample --output work/prepared
In SageMaker:    a processing job; the data in /opt/ml/processing/input/data, the splits in /opt/ml/processing/output.
"""

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import examples
import job
import settings
import task
from examples import Example

SPLITS = ("train", "validation", "test")


def parse_arguments(given: list[str] | None) -> argparse.Namespace:
    processing = job.OPT_ML / "processing"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=processing / "input/data")
    parser.add_argument("--output", type=Path, default=processing / "output")
    return parser.parse_args(given)


def name_labels(example: Example, data: dict) -> list[str] | None:
    """The class names of one example, or None when [data.labels] does not list one of them."""
    raw = example.labels
    if data["problem"] == "multi_label" and data["label_separator"]:
        raw = [part.strip() for label in raw for part in label.split(data["label_separator"]) if part.strip()]
    if data["problem"] == "multi_class" and len(raw) > 1:
        raise ValueError(f"{example.where} has {len(raw)} labels. Set [data] problem to multi_label, or give it one.")
    if not data["labels"]:
        return sorted(set(raw))
    named = [data["labels"].get(label) for label in raw]
    return None if None in named else sorted(set(named))


def split(labelled: list[tuple[Example, list[str]]], data: dict) -> dict[str, list[tuple[Example, list[str]]]]:
    """Divide into train, validation and test: seeded, each class in its share, equal keys on one side only."""
    groups: dict[str, list[tuple[Example, list[str]]]] = {}
    for example, labels in labelled:
        groups.setdefault(example.key, []).append((example, labels))
    strata: dict[tuple[str, ...], list[str]] = {}
    for key, members in groups.items():
        strata.setdefault(tuple(members[0][1]), []).append(key)
    # Sets of labels that are too rare for a share of their own are divided together.
    enough = math.ceil(1 / min(data["test_share"], data["validation_share"]))
    rare = [stratum for stratum, keys in strata.items() if len(keys) < enough]
    if data["problem"] == "multi_label":
        pooled = [key for stratum in sorted(rare) for key in strata.pop(stratum)]
        strata.setdefault((), []).extend(pooled)
    parts: dict[str, list[tuple[Example, list[str]]]] = {name: [] for name in SPLITS}
    generator = random.Random(data["seed"])
    for _, keys in sorted(strata.items()):
        generator.shuffle(keys)
        test = round(len(keys) * data["test_share"])
        validation = round(len(keys) * data["validation_share"])
        bounds = {"test": keys[:test], "validation": keys[test : test + validation], "train": keys[test + validation :]}
        for name, chosen in bounds.items():
            parts[name] += [member for key in chosen for member in groups[key]]
    for members in parts.values():
        generator.shuffle(members)
    return parts


def label_examples(found: Iterable[Example], data: dict) -> tuple[list[tuple[Example, list[str]]], Counter]:
    """Name the labels of every example; what is dropped is counted by its reason."""
    labelled, dropped = [], Counter()
    for example in found:
        labels = name_labels(example, data)
        if not example.key:
            dropped["empty"] += 1
        elif labels is None:
            dropped["label not in [data.labels]"] += 1
        elif not labels and data["problem"] == "multi_class":
            dropped["no label"] += 1
        else:
            labelled.append((example, labels))
    return labelled, dropped


def main(given: list[str] | None = None) -> None:
    arguments = parse_arguments(given)
    chosen = settings.load()
    settings.check_section("task", chosen["task"], task.SETTINGS)
    if not arguments.data.exists():
        raise FileNotFoundError(f"{arguments.data} not found. Give the folder or file that holds the data.")

    labelled, dropped = label_examples(task.read(arguments.data, chosen), chosen["data"])
    classes = sorted({label for _, labels in labelled for label in labels})
    if len(classes) < 2:
        raise ValueError(f"the data has {len(classes)} class ({', '.join(classes) or 'none'}). At least 2 are needed.")

    numbers = {name: number for number, name in enumerate(classes)}
    report = {"classes": classes, "dropped": dict(dropped), "splits": {}}
    for name, members in split(labelled, chosen["data"]).items():
        rows = (
            {**task.prepare(example, chosen["task"]), "labels": [numbers[label] for label in labels]}
            for example, labels in members
        )
        count = examples.write(arguments.output / name, rows, classes, chosen["data"]["problem"], chosen["task"])
        report["splits"][name] = {
            "examples": count,
            "classes": dict(sorted(Counter(label for _, labels in members for label in labels).items())),
        }
        print(f"{name}: {count} examples", flush=True)
        if absent := sorted(set(classes) - report["splits"][name]["classes"].keys()):
            print(f"{name}: no example of {', '.join(absent)}", flush=True)
    for reason, count in dropped.items():
        print(f"dropped: {count} ({reason})", flush=True)
    (arguments.output / "report").mkdir(exist_ok=True)
    (arguments.output / "report" / "data.json").write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    job.run(main)
