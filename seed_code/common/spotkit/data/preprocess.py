"""Turn the team's data into three splits, which training memory-maps, and a report about the data.

Run it locally:  python src/preprocess.py --data sample --output work/prepared
In SageMaker:    a processing job; the data in /opt/ml/processing/input/data, the splits in /opt/ml/processing/output.

The data is read twice, one row at a time: first to decide which row goes to which split, then to write it. Some 20
bytes for each row stay in memory, and the file names of pictures. Several instances, each with a part of the files,
arrive at the same splits: they exchange the results of the first reading.
"""

import argparse
import json
import math
import os
import time
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import task
from spotkit import settings
from spotkit.data import examples, lookalikes
from spotkit.data.examples import SPLITS, Example, NothingToRead, Skipped, Unreadable
from spotkit.evaluation import baseline, report
from spotkit.jobs import job
from spotkit.training import distributed

LEFT_OUT = len(SPLITS)  # in place of a split: dropped, or not assigned by the data
ROWS_AT_A_TIME, ROWS_A_THREAD = 1024, 32
NAMED = 20  # unreadable examples listed in the report
SHOWN = 4  # samples of each class in the report
SECONDS_BETWEEN_LINES = 10
SEPARATORS = ("_", "|", ",", ";", "/", "+", "&")  # between labels, in common data sets
MANY_NOTED = 0.01  # share of blank examples that is worth a warning
MANY_EQUAL = 0.1  # share of duplicates that is worth a warning


def parse_arguments(given: list[str] | None) -> argparse.Namespace:
    processing = job.OPT_ML / "processing"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, default=processing / "input/data")
    parser.add_argument("--output", type=Path, default=processing / "output")
    return parser.parse_args(given)


# --- first reading: survey the data ----------------------------------------------------------------------------------


@dataclass
class Counted:
    """The number of examples or files of one kind (unreadable, skipped), and the names of the first NAMED."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.named) < NAMED:
            self.named.append(name)

    def join(self, other: "Counted") -> None:
        self.count += other.count
        self.named = [*self.named, *other.named][:NAMED]


@dataclass
class Survey:
    """The results of the first reading."""

    # One entry for each row that is kept:
    keys: array = field(default_factory=lambda: array("Q"))  # 64-bit hash of its key
    kinds: array = field(default_factory=lambda: array("i"))  # number of its set of labels, see label_sets
    given: array = field(default_factory=lambda: array("b"))  # number of the split that the data assigns, or LEFT_OUT
    groups: array = field(default_factory=lambda: array("Q"))  # 64-bit hash of its group; empty without [data] group
    measures: array = field(default_factory=lambda: array("H"))
    # One entry for each row that is read: whether it is kept.
    kept: array = field(default_factory=lambda: array("b"))
    label_sets: dict[tuple[str, ...], int] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)  # labels that [data.labels] lacks
    unreadable: Counted = field(default_factory=Counted)
    others: dict[str, Counted] = field(default_factory=dict)  # by reason: what was skipped, and examples with a note
    rows: int = 0

    def add(self, example: Example | Unreadable | Skipped, data: dict[str, Any]) -> None:
        """Count one example, and note its key, labels, split, group and measure if it is kept."""
        self.kept.append(0)
        if isinstance(example, Skipped):
            self.others.setdefault(f"skipped: {example.reason}", Counted()).add(example.where)
            return
        self.rows += 1
        if isinstance(example, Unreadable):
            self.unreadable.add(f"{example.where}: {example.reason}")
            return
        if example.note:
            self.others.setdefault(f"records {example.note}", Counted()).add(example.where)
        labels = name_labels(example, data)
        if reason := reason_to_drop(example, labels, data):
            self.dropped[reason] += 1
            if labels is None and len(self.unmapped) < ROWS_AT_A_TIME:
                self.unmapped.update(label for label in example.labels if label not in data["labels"])
        else:
            self.kept[-1] = 1
            self.keys.append(examples.hash64(example.key))
            self.kinds.append(self.label_sets.setdefault(tuple(labels or ()), len(self.label_sets)))
            self.given.append(SPLITS.index(example.split) if example.split else LEFT_OUT)
            self.measures.append(example.measure)
            if data["group"]:  # a row without a group is its own group
                self.groups.append(examples.hash64(f"group {example.group}" if example.group else example.where))

    @classmethod
    def of_all(cls, surveys: list["Survey"]) -> "Survey":
        """Return the surveys of all instances as one, without `kept`, which each instance needs for itself."""
        whole = cls()
        for survey in surveys:
            # Each instance numbers its sets of labels itself: renumber them.
            numbers = [whole.label_sets.setdefault(labels, len(whole.label_sets)) for labels in survey.label_sets]
            for name in ("keys", "given", "measures", "groups"):
                getattr(whole, name).extend(getattr(survey, name))
            whole.kinds.extend(array("i", (numbers[kind] for kind in survey.kinds)))
            whole.dropped.update(survey.dropped)
            whole.unmapped.update(survey.unmapped)
            whole.unreadable.join(survey.unreadable)
            for reason, other in survey.others.items():
                whole.others.setdefault(reason, Counted()).join(other)
            whole.rows += survey.rows
        return whole


def name_labels(example: Example, data: dict[str, Any]) -> list[str] | None:
    """Return the class names of an example, sorted; None if [data.labels] lacks one of its labels.

    Raise ValueError if it has several labels and [data] problem is not multi_label.
    """
    raw = example.labels
    if data["problem"] == "multi_label" and data["label_separator"]:
        raw = [part.strip() for label in raw for part in label.split(data["label_separator"]) if part.strip()]
    if data["problem"] != "multi_label" and len(raw) > 1:
        raise ValueError(f"{example.where} has {len(raw)} labels. Set [data] problem to multi_label, or give it one.")
    if not data["labels"]:
        return sorted(set(raw))
    named = [data["labels"].get(label) for label in raw]
    return None if None in named else sorted({name for name in named if name is not None})


def reason_to_drop(example: Example, labels: list[str] | None, data: dict[str, Any]) -> str:
    """Return why an example is dropped; an empty string if it is kept."""
    if not example.key:
        return "empty"
    if labels is None:
        return "label not in [data.labels]"
    return "no label" if not labels and data["problem"] != "multi_label" else ""


def drop_rare(survey: Survey, data: dict[str, Any]) -> set[str]:
    """Drop classes with fewer distinct examples than [data] min_examples, and return their names.

    A multi_label example keeps its other labels.
    """
    keys, kinds = np.asarray(survey.keys, dtype=np.uint64), np.asarray(survey.kinds, dtype=np.int64)
    sets = list(survey.label_sets)
    distinct: Counter[str] = Counter()
    if len(keys):  # count each pair of a key and a set of labels once
        for _, kind in np.unique(np.stack([keys, kinds.astype(np.uint64)]), axis=1).T.tolist():
            distinct.update(sets[kind])
    rare = {label: count for label, count in distinct.items() if count < data["min_examples"]}
    if not rare:
        return set()
    named = ", ".join(f"{label} ({count})" for label, count in sorted(rare.items())[:NAMED])
    reason = f"of classes with fewer than [data] min_examples ({data['min_examples']}): {named}"
    # The sets of labels without rare ones, and the rows that lose a label.
    left = [tuple(label for label in labels if label not in rare) for labels in sets]
    touched = np.array([len(after) < len(before) for before, after in zip(sets, left, strict=True)])[kinds]
    survey.dropped[f"labels {reason}" if data["problem"] == "multi_label" else reason] += int(touched.sum())
    kept = np.ones(len(keys), dtype=bool) if data["problem"] == "multi_label" else ~touched
    survey.label_sets = {}
    numbers = np.array([survey.label_sets.setdefault(labels, len(survey.label_sets)) for labels in left])
    survey.kinds = array("i", numbers[kinds[kept]].tolist())
    for name in ("keys", "given", "measures", *(["groups"] if survey.groups else [])):
        values = getattr(survey, name)
        setattr(survey, name, array(values.typecode, np.asarray(values)[kept].tolist()))
    return set(rare)


def alike(classes: list[str]) -> list[list[str]]:
    """Return groups of class names that differ only in Unicode form, case, spaces or invisible characters."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        folded = unicodedata.normalize("NFKC", name).casefold()
        visible = "".join(sign for sign in folded if unicodedata.category(sign) not in ("Cf", "Cc"))
        groups.setdefault(" ".join(visible.split()), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def separator_of(classes: list[str], data: dict[str, Any]) -> str:
    """Return the character that seems to join several labels in most class names; an empty string if none does.

    Most names must contain it, and the parts between must recur.
    """
    if data["problem"] != "multi_label" or data["label_separator"] or isinstance(data["label"], list):
        return ""
    for sign in SEPARATORS:
        joined = [name for name in classes if sign in name.strip(sign)]
        parts = Counter(part.strip() for name in joined for part in name.split(sign))
        if 2 * len(joined) > len(classes) and len(parts) < len(joined) + len(classes):
            return sign
    return ""


def name_classes(survey: Survey, data: dict[str, Any]) -> list[str]:
    """Return the classes in the order of their numbers; for binary, the positive one is number 1.

    Raise ValueError if there are no rows, fewer than two classes, or classes that do not fit a binary problem.
    """
    if not survey.rows:
        raise ValueError("the data holds no rows. Give a file with rows in it.")
    names = sorted({label for labels in survey.label_sets for label in labels})
    if len(names) < 2:
        seen = ", ".join(f"{label} ({count})" for label, count in survey.unmapped.most_common(NAMED))
        mapped = (
            f" [data.labels] has {', '.join(data['labels'])}; not there: {seen or 'nothing'}." if data["labels"] else ""
        )
        left_out = "; ".join(f"{count} {reason}" for reason, count in survey.dropped.items())
        raise ValueError(
            f"the data has {len(names)} class ({', '.join(names) or 'none'}). At least 2 are needed.{mapped}"
            + (f" Left out: {left_out}." if left_out else "")
        )
    if data["problem"] != "binary":
        return names
    if len(names) != 2:
        raise ValueError(
            f"[data] problem is binary, and the data has {len(names)} classes: {', '.join(names[:20])}. "
            "Map them to two in [data.labels], or set problem to multi_class."
        )
    positive = data["positive"] or names[1]
    if positive not in names:
        raise ValueError(f"[data] positive is {positive!r}, which is not a class. Choose: {' or '.join(names)}.")
    return [name for name in names if name != positive] + [positive]


# --- the plan: assign keys to splits ---------------------------------------------------------------------------------


@dataclass
class Plan:
    """The split of each key: `sides[i]` is the split's number, or LEFT_OUT, of `keys[i]`. Keys are sorted."""

    keys: np.ndarray
    sides: np.ndarray
    given: set[int] = field(default_factory=set)  # numbers of the splits that the data assigns

    def side(self, key: int) -> int:
        return int(self.sides[np.searchsorted(self.keys, np.uint64(key))])


def draw_plan(survey: Survey, data: dict[str, Any]) -> tuple[Plan, dict[str, int]]:
    """Assign the keys to splits, stratified by their sets of labels; also return statistics of duplicates.

    Within a stratum, the order is that of seeded hashes: it depends on the examples alone, not on who read them when.
    """
    # keys: (distinct keys,), sorted; inverse: (rows,), the index of each row's key
    keys, inverse = np.unique(np.asarray(survey.keys, dtype=np.uint64), return_inverse=True)
    # Numbers of the sets of labels that do not depend on which instance read what.
    ranks = {labels: rank for rank, labels in enumerate(sorted(survey.label_sets))}
    rank_of_kind = np.array([ranks[labels] for labels in survey.label_sets], dtype=np.int64)
    kinds = rank_of_kind[np.asarray(survey.kinds, dtype=np.int64)]
    # A key whose rows have different labels is stratified by the lowest of their numbers.
    lowest, highest = np.full(len(keys), len(ranks)), np.zeros(len(keys), dtype=np.int64)
    np.minimum.at(lowest, inverse, kinds)
    np.maximum.at(highest, inverse, kinds)
    times = np.bincount(inverse, minlength=len(keys))
    double = {
        "rows": int((times - 1).sum()),
        "texts": int((times > 1).sum()),
        "with_different_labels": int((lowest != highest).sum()),
    }

    # A unit goes to one split: a key with all its duplicates, or all keys of a group.
    unit_of = units(survey, inverse, len(keys))
    sizes = np.bincount(unit_of)
    of_row = unit_of[inverse]
    first = np.unique(unit_of, return_index=True)[1]
    sides = given_sides(survey, of_row, len(sizes))
    free = sides != LEFT_OUT  # true where the data assigns a split
    # The splits to draw, out of train, are those that the data does not assign.
    drawn = [name for name in ("test", "validation") if not free.any() or SPLITS.index(name) not in sides[free]]
    sides[~free] = SPLITS.index("train")
    shuffled = np.argsort(mix(keys[first], data["seed"]), kind="stable")
    shuffled = shuffled[sides[shuffled] == SPLITS.index("train")]
    strata = pool_rare(lowest, data) if data["problem"] == "multi_label" else lowest
    of_unit = strata[first]  # a unit's stratum is that of its first key
    in_strata = shuffled[np.argsort(of_unit[shuffled], kind="stable")]
    for members in np.split(
        in_strata, np.cumsum(np.bincount(of_unit[shuffled], minlength=int(of_unit.max()) + 1))[:-1]
    ):
        test, validation = shares(sizes[members], drawn, data)
        sides[members[:test]] = SPLITS.index("test")
        sides[members[test : test + validation]] = SPLITS.index("validation")
    if "test" in drawn and (data["problem"] == "multi_label" or survey.groups):
        test_every_class(survey, of_row, sides, shuffled)
    sides = sides[unit_of]
    if data["limit"]:  # with another seed: in an order independent of the split
        limit(sides, lowest, np.argsort(mix(keys, data["seed"] + 1), kind="stable"), data["limit"])
    if data["balance"]:
        by_key = np.argsort(mix(keys, data["seed"]), kind="stable")
        balance(sides, strata, by_key[sides[by_key] == SPLITS.index("train")])
    return Plan(keys, sides, set(survey.given) - {LEFT_OUT}), double


def units(survey: Survey, inverse: np.ndarray, count: int) -> np.ndarray:
    """Return the number of each key's unit. Keys that share a group, directly or through other keys, are one unit.

    Without groups, each key is a unit of its own.
    """
    if not survey.groups:
        return np.arange(count)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # A graph of keys (0 to count - 1) and groups (from count on): its connected components are the units.
    named, groups = np.unique(np.asarray(survey.groups, dtype=np.uint64), return_inverse=True)
    links = coo_array((np.ones(len(groups)), (inverse, count + groups)), shape=(count + len(named),) * 2)
    found = connected_components(links, directed=False)[1][:count]
    return np.unique(found, return_inverse=True)[1]  # numbered without gaps


def given_sides(survey: Survey, unit_of_row: np.ndarray, count: int) -> np.ndarray:
    """Return the number of the split that the data assigns to each unit; LEFT_OUT for none.

    A unit that is in several splits goes to the last of train, validation and test. If the data names fewer than two
    splits, none is assigned.
    """
    given = np.asarray(survey.given, dtype=np.int8)
    if len(set(given.tolist()) - {LEFT_OUT}) < 2:
        return np.full(count, LEFT_OUT, dtype=np.int8)
    sides = np.full(count, -1, dtype=np.int8)
    np.maximum.at(sides, unit_of_row, np.where(given == LEFT_OUT, -1, given).astype(np.int8))
    return np.where(sides < 0, LEFT_OUT, sides).astype(np.int8)


def shares(sizes: np.ndarray, drawn: list[str], data: dict[str, Any]) -> tuple[int, int]:
    """Return how many units of a stratum go to test and to validation; the first units go to test.

    `sizes` has the number of examples of each unit; `drawn` names the splits to draw. If test is drawn and there are
    two units or more, at least one goes to test and at least one stays in train.
    """
    units, ends, begins = len(sizes), np.cumsum(sizes), np.cumsum(sizes) - sizes
    test, validation = (
        round(int(sizes.sum()) * data[f"{name}_share"]) if name in drawn else 0 for name in ("test", "validation")
    )
    # With all units in a row, each goes where its middle falls. If all have one example, the counts come out exactly.
    middle = (begins + ends) / 2
    in_test = int((middle < test).sum())
    if "test" in drawn and units > 1:
        in_test = max(1, min(in_test, units - 1))
    in_validation = int((middle[in_test:] < ends[in_test - 1 : in_test].sum() + validation).sum())
    if "validation" in drawn and units > 2 and sizes.max() > 1:  # of few, large units, perhaps no middle falls there
        in_validation = max(1, in_validation)
    return in_test, max(0, min(in_validation, units - in_test - 1))


def test_every_class(survey: Survey, unit_of_row: np.ndarray, sides: np.ndarray, shuffled: np.ndarray) -> None:
    """Move one unit from train to test for each class that has several units, but none in test."""
    kinds = np.asarray(survey.kinds, dtype=np.int64)
    for label in sorted({label for labels in survey.label_sets for label in labels}):
        having = [number for labels, number in survey.label_sets.items() if label in labels]
        members = np.unique(unit_of_row[np.isin(kinds, having)])
        if len(members) > 1 and SPLITS.index("test") not in sides[members]:
            movable = shuffled[np.isin(shuffled, members) & (sides[shuffled] == SPLITS.index("train"))]
            sides[movable[:1]] = SPLITS.index("test")


def balance(sides: np.ndarray, strata: np.ndarray, shuffled: np.ndarray) -> None:
    """Drop training examples, and no others, until all strata are as large in train as the smallest."""
    train = shuffled[sides[shuffled] == SPLITS.index("train")]
    sizes = np.bincount(strata[train])
    most = int(sizes[sizes > 0].min()) if len(train) else 0
    limit(sides, strata, train, most)


def limit(sides: np.ndarray, strata: np.ndarray, shuffled: np.ndarray, most: int) -> None:
    """Drop all but the first `most` keys of each stratum, out of those in `shuffled`."""
    in_strata = shuffled[np.argsort(strata[shuffled], kind="stable")]
    sizes = np.bincount(strata[shuffled])
    place = np.arange(len(in_strata)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # position within the stratum
    sides[in_strata[place >= most]] = LEFT_OUT


def pool_rare(strata: np.ndarray, data: dict[str, Any]) -> np.ndarray:
    """Merge the sets of labels that are too rare to be stratified into one stratum."""
    enough = math.ceil(1 / min(data["test_share"], data["validation_share"]))
    sizes = np.bincount(strata)
    return np.where(sizes[strata] < enough, len(sizes), strata)


def mix(keys: np.ndarray, seed: int) -> np.ndarray:
    """Return 64-bit hashes of keys and a seed (the finalizer of SplitMix64, Steele et al. 2014)."""
    mixed = keys + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


# --- second reading: write the splits --------------------------------------------------------------------------------


@dataclass
class Written:
    """Statistics of what one instance wrote, for the report."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in SPLITS})
    examples: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: Counted = field(default_factory=Counted)
    sizes: array = field(default_factory=lambda: array("i"))
    notes: Counter[str] = field(default_factory=Counter)  # what task.note_of returns for rows, if not empty
    samples: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    thumbnails: lookalikes.Thumbnails = field(default_factory=lookalikes.Thumbnails)

    def add(
        self,
        split: str,
        example: Example,
        labels: list[str],
        row: dict[str, Any],
        size: int,
        facts: dict[str, Any],
    ) -> None:
        """Count one row; `facts` is [task] and what was learned.

        Each class's samples are its rows with the smallest ids, so they do not depend on the number of instances.
        """
        self.examples[split] += 1
        self.counts[split].update(labels)
        self.sizes.append(size)
        if note := task.note_of(row):
            self.notes[note] += 1
        if row["id"] < self.thumbnails.bound and (thumbnail := task.thumbnail_of(row, facts)) is not None:
            self.thumbnails.add(row["id"], example.key, split, example.where, thumbnail)
        for label in labels[:1] if split == "train" else ():
            shown = self.samples.setdefault(label, [])
            shown.append((row["id"], {**row, "labels": labels}))
            shown.sort(key=lambda entry: entry[0])
            del shown[SHOWN:]


def on_all_cores(found: Iterable[Any], function: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield `function(item)` for each item, in order, from a pool of threads: decoding a picture releases the GIL."""

    def apply(piece: list[Any]) -> list[Any]:
        return [function(one) for one in piece]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for some in examples.batched(found, ROWS_AT_A_TIME):
            for done in pool.map(apply, examples.batched(some, ROWS_A_THREAD)):
                yield from done


def identified(
    found: Iterable[Example | Unreadable | Skipped], chosen: settings.Settings
) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the same items, with the key that `task.identify` gives each example."""
    return on_all_cores(found, lambda one: task.identify(one, chosen["task"]) if isinstance(one, Example) else one)


def select(
    found: Iterable[Example | Unreadable | Skipped],
    mine: Survey,
    plan: Plan,
    rare: set[str],
    data: dict[str, Any],
    written: Written,
) -> Iterator[tuple[Example, list[str], str]]:
    """Yield the examples that go to a split, with their labels and its name; count the others in `written`.

    `found` is the second reading. `mine` is this instance's survey: the first reading of the same items.
    """
    # Keys of rare classes are not in the plan: their rows are skipped below, whatever is found here.
    places = np.searchsorted(plan.keys, np.asarray(mine.keys, dtype=np.uint64))
    sides = iter(plan.sides[np.minimum(places, len(plan.keys) - 1)].tolist())
    given, keys = iter(mine.given), iter(mine.keys)
    named = plan.given if len(plan.given) > 1 else set()
    for example, kept in zip(found, mine.kept, strict=True):
        if not kept or not isinstance(example, Example):
            continue  # counted in the first reading
        side, own, key = next(sides), next(given), next(keys)
        labels = [label for label in name_labels(example, data) or [] if label not in rare]
        if not labels and data["problem"] != "multi_label":
            continue
        if own != side and LEFT_OUT != own and side in named:
            written.left_out["equal to an example of another given split"] += 1
        elif side == LEFT_OUT:
            reasons = {
                "limit": "more than [data] limit allows",
                "balance": "more than the smallest class has in train ([data] balance)",
            }
            written.left_out[" or ".join(words for name, words in reasons.items() if data[name])] += 1
        else:
            yield replace(example, key=f"{key:016x}"), labels, SPLITS[side]  # identified in the first reading only


def write(
    selected: Iterator[Any],
    classes: list[str],
    chosen: settings.Settings,
    learned: dict[str, Any],
    output: Path,
    part: int,
) -> Written:
    """Prepare examples and write this instance's part of every split; return its statistics."""
    written = Written()
    facts = chosen["task"] | learned
    numbers = {name: number for number, name in enumerate(classes)}
    about = {"labels": classes, "problem": chosen["data"]["problem"], "facts": facts}

    def prepare(entry: tuple[Example, list[str], str]) -> tuple[Example, list[str], str, Any]:
        return (*entry, task.prepare(entry[0], facts))

    writers: dict[str, examples.Writer] = {}
    with ExitStack() as stack:
        for example, labels, split, prepared in on_all_cores(selected, prepare):
            if isinstance(prepared, Unreadable):
                written.unreadable.add(f"{prepared.where}: {prepared.reason}")
                continue
            content, size = prepared
            row = {
                **content,
                "labels": [numbers[label] for label in labels],
                "id": examples.hash64(example.where),
                "where": example.where,
            }
            if split not in writers:
                writer = examples.Writer(output / split / f"part-{part:03}.arrow", row, about)
                writers[split] = stack.enter_context(writer)
            writers[split].add(row)
            written.add(split, example, labels, row, size, facts)
    return written


def check_readable(unreadable: Counted, rows: int, limit: float) -> None:
    """Raise ValueError if more than [data] unreadable_share of the rows could not be read."""
    if unreadable.count > limit * rows:
        raise ValueError(
            f"{unreadable.count} of {rows} examples cannot be read, more than [data] unreadable_share ({limit:g}) "
            f"permits: {'; '.join(unreadable.named[:5])}{' ...' if unreadable.count > 5 else ''}. "
            "Correct or remove them, or raise the share."
        )


def all_unread(survey: Survey, written: list[Written]) -> Counted:
    """Return what the instances could not read, in the first reading or the second."""
    whole = Counted()
    for part in (survey, *written):
        whole.join(part.unreadable)
    return whole


def share_of(group: distributed.Group, data: Path, chosen: settings.Settings) -> Iterator[Example | Unreadable]:
    """Yield what this instance has to read; with several instances, one may have received no file."""
    try:
        yield from task.read(data, chosen)
    except NothingToRead:
        if group.size == 1:
            raise


def with_progress(found: Iterable[Any], doing: str) -> Iterator[Any]:
    """Yield from `found`, printing progress every 10 seconds."""
    spoken = time.monotonic()
    for number, example in enumerate(found, 1):
        yield example
        if time.monotonic() - spoken > SECONDS_BETWEEN_LINES:
            spoken = time.monotonic()
            print(f"{doing}: {number} examples", flush=True)


def describe(
    survey: Survey,
    plan: Plan,
    double: dict[str, int],
    written: list[Written],
    classes: list[str],
    chosen: settings.Settings,
) -> dict[str, Any]:
    """Return the statistics for the data report."""
    dropped = dict(survey.dropped)
    dropped |= written_off(written)
    unreadable = all_unread(survey, written)
    sizes = np.concatenate([np.asarray(part.sizes, dtype=np.int64) for part in written])
    facts: dict[str, Any] = {
        "classes": classes,
        "problem": chosen["data"]["problem"],
        "rows": survey.rows,
        "noun": task.NOUN,
        "dropped": dropped,
        "unreadable": {"count": unreadable.count, "examples": unreadable.named},
        "others": {reason: {"count": one.count, "examples": one.named} for reason, one in survey.others.items()},
        "duplicates": double,
        "alike": alike(classes),
        "separator": separator_of(classes, chosen["data"]),
        "warnings": warnings_of(written),
        "lookalikes": lookalikes_of(written),
        "given": [name for number, name in enumerate(SPLITS) if number in plan.given] if len(plan.given) > 1 else [],
        "groups": {"column": chosen["data"]["group"], "count": len(set(survey.groups))} if survey.groups else {},
        "splits": {},
        "size": {
            "name": task.SIZE,
            "mean": float(sizes.mean()),
            "median": float(np.median(sizes)),
            "p95": float(np.percentile(sizes, 95)),
            "most": int(sizes.max()),
        },
    }
    if limit := chosen["task"].get("max_characters"):
        facts["cut"] = {"count": int((sizes > limit).sum()), "limit": limit}
    for name in SPLITS:
        counts = sum((part.counts[name] for part in written), Counter())
        facts["splits"][name] = {
            "examples": sum(part.examples[name] for part in written),
            "classes": dict(sorted(counts.items())),
        }
    return facts


def warnings_of(written: list[Written]) -> list[str]:
    """Return a warning for each note of task.note_of that more than MANY_NOTED of the examples have."""
    notes, count = sum((part.notes for part in written), Counter()), sum(part.examples.total() for part in written)
    return [
        f"{noted:,} {task.NOUN} are {note} when decoded ({noted / count:.0%}): look at them in report/data.html"
        for note, noted in notes.items()
        if noted > MANY_NOTED * count
    ]


def lookalikes_of(written: list[Written]) -> dict[str, Any]:
    """Return the report on lookalikes among all instances' examples; {} if the task has no thumbnails."""
    thumbnails = lookalikes.Thumbnails()
    for part in written:
        thumbnails.join(part.thumbnails)
    found = lookalikes.report(thumbnails)
    return found | {"pairs": found["pairs"][:NAMED]} if found["compared"] else {}


def print_statistics(facts: dict[str, Any]) -> None:
    """Print the statistics: the splits, all that was dropped, and warnings."""
    if facts["given"]:
        print(f"the data says what is {' and '.join(facts['given'])}", flush=True)
    if facts["groups"]:
        print(f"groups: {facts['groups']['count']} ({facts['groups']['column']}), each in one split", flush=True)
    for name, split in facts["splits"].items():
        print(f"{name}: {split['examples']} examples", flush=True)
        if absent := sorted(set(facts["classes"]) - split["classes"].keys()):
            print(f"{name}: no example of {report.listed(absent)}", flush=True)
    for reason, count in facts["dropped"].items():
        print(f"dropped: {count} ({reason})", flush=True)
    for reason, other in facts["others"].items():
        named = ", ".join(other["examples"][:SHOWN]) + (" ..." if other["count"] > SHOWN else "")
        print(f"{reason}: {other['count']} ({named})", flush=True)
    if facts["unreadable"]["count"]:
        print(f"left out: {facts['unreadable']['count']} that cannot be read", flush=True)
        for line in facts["unreadable"]["examples"][:5]:
            print(f"  {line}", flush=True)
    if facts["duplicates"]["rows"]:
        print(
            f"duplicates: {facts['duplicates']['rows']} rows repeat another; each stands on one side of the split only",
            flush=True,
        )
    if facts["duplicates"]["with_different_labels"]:
        print(f"duplicates: {facts['duplicates']['with_different_labels']} of them have different labels", flush=True)
    if facts["duplicates"]["rows"] > MANY_EQUAL * facts["rows"]:
        print(
            f"warning: more than {MANY_EQUAL:.0%} of all repeat another: look at them in report/data.html", flush=True
        )
    for names in facts["alike"]:
        print(
            f"warning: class names that look alike: {', '.join(map(ascii, names))}. Map them in [data.labels].",
            flush=True,
        )
    if sign := facts["separator"]:
        print(
            f"warning: most class names have {sign!r} in them. If it separates labels, set in [data]: "
            f'label_separator = "{sign}"',
            flush=True,
        )
    for warning in facts["warnings"]:
        print(f"warning: {warning}", flush=True)
    if (found := facts["lookalikes"]) and found["count"]:
        print(f"warning: {report.say_lookalikes(found, task.NOUN)}", flush=True)
    if facts.get("cut", {}).get("count"):
        print(f"cut: {facts['cut']['count']} to {facts['cut']['limit']} characters", flush=True)


def main(given: list[str] | None = None) -> None:
    arguments = parse_arguments(given)
    chosen = settings.load()
    settings.check_section("task", chosen["task"], task.SETTINGS)
    data = chosen["data"]
    if not arguments.data.exists():
        raise FileNotFoundError(f"{arguments.data} not found. Give the folder or file that holds the data.")
    group = distributed.join_instances()
    if group.first:
        for old in arguments.output.glob("*/part-*.arrow"):
            old.unlink()
    # First reading: each instance surveys its files; then all have the survey of all.
    mine = Survey()
    for example in with_progress(identified(share_of(group, arguments.data, chosen), chosen), "reading"):
        mine.add(example, data)
    survey = Survey.of_all(group.gather(mine))
    check_readable(survey.unreadable, survey.rows, data["unreadable_share"])
    rare = drop_rare(survey, data)
    classes = name_classes(survey, data)
    plan, double = draw_plan(survey, data)
    learned = task.learned(greatest_in_train(survey, plan))

    # Second reading: each instance writes its part of every split.
    counted = Written()
    selected = select(share_of(group, arguments.data, chosen), mine, plan, rare, data, counted)
    done = write(with_progress(selected, "preparing"), classes, chosen, learned, arguments.output, group.rank)
    done.left_out = counted.left_out
    written = group.gather(done)
    check_readable(all_unread(survey, written), survey.rows, data["unreadable_share"])
    check_splits(survey, plan, double, written)
    facts = describe(survey, plan, double, written, classes, chosen)
    if group.first:
        write_report(arguments.output / "report", facts, written, chosen)
        print_statistics(facts)
    said_of_baseline = baseline.write(arguments.output, group, facts)
    if group.first:
        print(said_of_baseline, flush=True)
    group.leave()


def greatest_in_train(survey: Survey, plan: Plan) -> int:
    """Return the greatest measure of the training examples; 0 if there are none."""
    sides = plan.sides[np.searchsorted(plan.keys, np.asarray(survey.keys, dtype=np.uint64))]
    measures = np.asarray(survey.measures)[sides == SPLITS.index("train")]
    return int(measures.max()) if len(measures) else 0


def check_splits(survey: Survey, plan: Plan, double: dict[str, int], written: list[Written]) -> None:
    """Raise ValueError, with the possible causes, if a split has no example."""
    empty = [name for name in SPLITS if not any(part.examples[name] for part in written)]
    if not empty:
        return
    causes = [f"{len(survey.keys)} examples are used of {survey.rows} rows"]
    if double["rows"]:
        causes.append(f"only {len(plan.keys)} of them differ (is it the right column?)")
    if survey.groups:
        causes.append(f"they are of {len(set(survey.groups))} groups, each of which stays together")
    causes += [f"{count} {reason}" for reason, count in (survey.dropped + written_off(written)).items()]
    raise ValueError(
        f"nothing is left for {' and '.join(empty)}: {'; '.join(causes)}. Give more examples, or make the other shares smaller."
    )


def written_off(written: list[Written]) -> Counter[str]:
    """Return what was dropped in the second reading, by reason."""
    return sum((part.left_out for part in written), Counter())


def write_report(folder: Path, facts: dict[str, Any], written: list[Written], chosen: settings.Settings) -> None:
    """Write data.json and data.html."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.json").write_text(json.dumps(facts, indent=2))
    sizes = np.concatenate([np.asarray(part.sizes, dtype=np.int64) for part in written])
    samples = []
    for label in facts["classes"]:
        found = sorted((entry for part in written for entry in part.samples.get(label, [])), key=lambda entry: entry[0])
        for _, row in found[:SHOWN]:
            shown = {"labels": row["labels"], "where": row["where"], **task.show(row, chosen["task"])}
            samples.append(shown)
    report.data_report(folder / "data.html", facts, sizes, samples)


if __name__ == "__main__":
    job.run(main)
