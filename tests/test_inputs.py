"""Data as teams have it, preprocessed by the seeds: it is read right, refused in one line, or dropped and reported."""

import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from build.assemble import assemble, edit_settings, write

# Preprocesses once for each line of stdin, since importing PyTorch takes longer than preprocessing.
WORKER = """
import contextlib, io, json, sys
sys.path.insert(0, "src")
from spotkit.data import preprocess
for line in sys.stdin:
    asked, said = json.loads(line), io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            preprocess.main(["--data", asked["data"], "--output", asked["output"]])
        error = ""
    except (ValueError, FileNotFoundError) as refused:
        error = str(refused)
    print(json.dumps([said.getvalue(), error]), flush=True)
"""


class Prepared:
    """The result of one run of preprocessing: its output folder, what it printed, and its error."""

    def __init__(self, output: Path, said: str, error: str):
        self.output, self.said, self.error = output, said, error

    @property
    def facts(self) -> dict[str, Any]:
        assert not self.error, self.error
        return json.loads((self.output / "report/data.json").read_text())

    def rows(self, split: str) -> list[dict[str, Any]]:
        """Return the rows of a split, with label names instead of indices."""
        parts = sorted((self.output / split).glob("*.arrow"))
        tables = [pa.ipc.open_file(str(part)).read_all() for part in parts]
        names = self.facts["classes"]
        return [row | {"labels": [names[n] for n in row["labels"]]} for t in tables for row in t.to_pylist()]

    @property
    def everything(self) -> list[dict[str, Any]]:
        return [row | {"split": split} for split in ("train", "validation", "test") for row in self.rows(split)]


class Landed:
    """An assembled repository whose settings change from one run of preprocessing to the next."""

    def __init__(self, variant: str, folder: Path):
        write(assemble(variant), folder)
        self.folder, self.times = folder, 0
        self.settings = (folder / "settings.toml").read_text()
        self.worker = subprocess.Popen(
            [sys.executable, "-c", WORKER], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def prepare(self, place: Path, /, mark: str = "", **settings: dict[str, Any]) -> Prepared:
        path = self.folder / "settings.toml"
        path.write_text(self.settings)
        edit_settings(path, settings)
        path.write_text(mark + path.read_text())
        self.times += 1
        output = self.folder / f"prepared-{self.times}"
        self.worker.stdin.write(json.dumps({"data": str(place), "output": str(output)}) + "\n")
        self.worker.stdin.flush()
        return Prepared(output, *json.loads(self.worker.stdout.readline()))


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Iterator[Callable[..., Prepared]]:
    landed = Landed("nlp", tmp_path_factory.mktemp("inputs") / "nlp")
    yield landed.prepare
    landed.worker.communicate()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Iterator[Callable[..., Prepared]]:
    landed = Landed("cv", tmp_path_factory.mktemp("inputs") / "cv")
    yield landed.prepare
    landed.worker.communicate()


def csv_of(folder: Path, rows: list[tuple[str, ...]], header: str = "text,label", name: str = "rows.csv") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return folder


def rows_of(count: int, labels: str = "ab", word: str = "text") -> list[tuple[str, str]]:
    return [(f"{word} number {n}", labels[n % len(labels)]) for n in range(count)]


# --- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_class_of_two_or_more_examples_is_in_test_and_in_train(texts, tmp_path, count):
    rare = [(f"rare {n}", "rare") for n in range(count)]

    facts = texts(csv_of(tmp_path, rows_of(100) + rare)).facts

    assert facts["splits"]["test"]["classes"]["rare"] >= 1
    assert facts["splits"]["train"]["classes"]["rare"] >= 1


def test_classes_below_min_examples_are_left_out_and_named(texts, tmp_path):
    rows = rows_of(100) + [("only one", "single"), ("again", "pair"), ("again", "pair"), ("other", "pair")]

    done = texts(csv_of(tmp_path, rows))
    more = texts(tmp_path, data={"min_examples": 3})

    assert done.facts["classes"] == ["a", "b", "pair"]
    assert "dropped: 1 (of classes with fewer than [data] min_examples (2): single (1))" in done.said
    assert more.facts["classes"] == ["a", "b"]
    assert "dropped: 4 (of classes with fewer than [data] min_examples (3): pair (2), single (1))" in more.said


def test_a_rare_label_of_several_is_taken_off_and_each_label_is_in_test(texts, tmp_path):
    rows = [(f"text {n}", "a_b" if n % 2 else "b") for n in range(60)] + [("x", "a_c"), ("y", "d_a"), ("z", "d_b")]

    done = texts(csv_of(tmp_path, rows), data={"problem": "multi_label", "label_separator": "_"})

    assert done.facts["classes"] == ["a", "b", "d"]
    assert done.facts["splits"]["test"]["classes"]["d"] == 1
    assert [row["labels"] for row in done.everything if row["text"] == "x"] == [["a"]]


def test_one_class_left_tells_what_was_mapped_and_what_is_there(texts, tmp_path):
    done = texts(csv_of(tmp_path, rows_of(50)), data={"labels": {"good": "fine", "bad": "poor"}})

    assert done.error == (
        "the data has 0 class (none). At least 2 are needed. [data.labels] has good, bad; not there: a (25), b (25). "
        "Left out: 50 label not in [data.labels]."
    )


def test_nothing_left_for_a_split_tells_why(texts, tmp_path):
    done = texts(csv_of(tmp_path, [("uvwx"[n % 4], "ab"[n % 2]) for n in range(61)]))

    assert "nothing is left for validation" in done.error
    assert "61 examples are used of 61 rows; only 4 of them differ (is it the right column?)" in done.error


def test_balance_leaves_validation_and_test_as_they_are(texts, tmp_path):
    rows = [(f"text {n}", "a" if n % 10 else "b") for n in range(200)]

    plain, balanced = texts(csv_of(tmp_path, rows)).facts, texts(tmp_path, data={"balance": True}).facts

    for split in ("validation", "test"):
        assert balanced["splits"][split] == plain["splits"][split]
    assert balanced["splits"]["train"]["classes"] == {"a": 13, "b": 13}


def test_class_names_that_look_alike_are_told(texts, tmp_path):
    names = ["caf\u00e9", "cafe\u0301", "two words", "two\u00a0 words", "a\u200bb", "ab", "other"]

    done = texts(csv_of(tmp_path, [(f"text {n}", names[n % 7]) for n in range(140)]))

    assert len(done.facts["alike"]) == 3
    assert r"warning: class names that look alike: 'cafe\u0301', 'caf\xe9'. Map them in [data.labels]." in done.said


# --- texts -----------------------------------------------------------------------------------------------------------


def test_quotes_and_hidden_files_and_headers_are_counted_and_named(texts, tmp_path):
    rows = rows_of(200)
    rows[19] = ('"text number 19', "b")
    rows[100:100] = [("text", "label")]
    csv_of(tmp_path, rows)
    csv_of(tmp_path, rows_of(5), name=".ipynb_checkpoints/rows-checkpoint.csv")

    done = texts(tmp_path)

    assert done.facts["rows"] == 200
    assert len(done.everything) == 199
    assert done.facts["unreadable"]["examples"][0].startswith('rows.csv, line 21: a quote (") opens and does not close')
    assert "skipped: repeated header lines: 1 (rows.csv, line 102)" in done.said
    assert "skipped: hidden files: 1 (.ipynb_checkpoints/rows-checkpoint.csv)" in done.said


def test_files_and_folders_named_for_splits_are_splits(texts, tmp_path):
    csv_of(tmp_path, rows_of(60), name="train.csv")
    csv_of(tmp_path, [*rows_of(20, word="other"), ("text number 1", "b")], name="test/part-1.csv")

    done = texts(tmp_path)

    test = {row["text"] for row in done.rows("test")}
    assert test == {f"other number {n}" for n in range(20)} | {"text number 1"}
    assert done.facts["splits"]["validation"]["examples"] == 8
    assert "dropped: 1 (equal to an example of another given split)" in done.said


def test_one_file_called_train_is_divided_as_any_other(texts, tmp_path):
    facts = texts(csv_of(tmp_path, rows_of(100), name="train.csv")).facts

    assert facts["splits"]["test"]["examples"] == 20


def test_a_column_says_which_split_a_row_is_of(texts, tmp_path):
    rows = [(f"text number {n}", "ab"[n % 2], ("train", "Valid", "TEST")[n % 3]) for n in range(60)]
    csv_of(tmp_path, [*rows, ("free text", "a", "")], "text,label,part")

    found = texts(tmp_path, data={"split": "part"})

    assert {name: split["examples"] for name, split in found.facts["splits"].items()} == {
        "train": 21, "validation": 20, "test": 20,
    }  # fmt: skip
    assert {row["text"] for row in found.rows("test")} == {text for text, _, part in rows if part == "TEST"}
    assert "the data says what is train and validation and test" in found.said


def test_a_split_that_is_none_is_named(texts, tmp_path):
    csv_of(tmp_path, [(f"text number {n}", "ab"[n % 2], "holdout") for n in range(20)], "text,label,part")

    assert (
        "part is 'holdout', which is none of train, validation and test"
        in texts(tmp_path, data={"split": "part"}).error
    )


@pytest.mark.parametrize("problem", ["multi_class", "multi_label"])
def test_a_group_stands_in_one_split_also_with_what_equals_its_texts(texts, tmp_path, problem):
    rows = [(f"text number {n}", "ab"[n % 2], f"patient {n // 6}") for n in range(240)]
    rows += [("text number 0", "a", "patient 39"), ("without a patient", "b", "")]
    csv_of(tmp_path, rows, "text,label,patient")

    found = texts(tmp_path, data={"group": "patient", "problem": problem})

    splits: dict[str, set[str]] = {}
    for row in found.everything:
        for text, _, patient in rows:
            if text == row["text"] and patient:
                splits.setdefault("patient 0" if patient == "patient 39" else patient, set()).add(row["split"])
    assert len(splits) == 39
    assert all(len(each) == 1 for each in splits.values())
    sizes = [split["examples"] for split in found.facts["splits"].values()]
    assert sum(sizes) == 242
    assert 0.5 < sizes[0] / 242 < 0.75
    assert min(sizes) > 20
    assert "groups: 41 (patient), each in one split" in found.said


def test_a_limit_keeps_so_many_of_each_class_in_all_splits(texts, tmp_path):
    csv_of(tmp_path, [(f"text number {n}", "aaab"[n % 4]) for n in range(400)])

    found = texts(tmp_path, data={"limit": 50})

    assert {name: split["classes"] for name, split in found.facts["splits"].items()}.keys() == {
        "train",
        "validation",
        "test",
    }
    labels = [row["labels"][0] for row in found.everything]
    assert (labels.count("a"), labels.count("b")) == (50, 50)
    assert "dropped: 300 (more than [data] limit allows)" in found.said


def test_a_group_that_is_the_label_is_refused(texts, tmp_path):
    csv_of(tmp_path, rows_of(20))

    assert "[data] group is 'label', which is the label" in texts(tmp_path, data={"group": "label"}).error


def test_a_file_without_a_header_is_read_by_the_names_that_settings_give(texts, tmp_path):
    (tmp_path / "rows.csv").write_text("".join(f"{n};{'ab'[n % 2]};text number {n}\n" for n in range(40)))

    found = texts(tmp_path, data={"columns": ["id", "label", "text"]})
    short = texts(tmp_path, data={"columns": ["label", "text"]})

    assert len(found.everything) == 40
    assert {row["text"] for row in found.everything} >= {"text number 0"}
    assert "[data] columns has 2 names (label, text), and the first line of rows.csv has" in short.error


def test_most_class_names_with_a_sign_between_words_suggest_a_separator(texts, tmp_path):
    labels = ["rude_angry", "rude_sad", "angry_sad", "rude"]
    csv_of(tmp_path, [(f"text number {n}", labels[n % 4]) for n in range(80)])

    found = texts(tmp_path, data={"problem": "multi_label"})

    assert 'label_separator = "_"' in found.said


def test_labels_in_columns_of_their_own_and_in_lists(texts, tmp_path):
    rows = [(f"text {n}", str(n % 2), str(int(n % 3 == 0))) for n in range(60)]
    several = csv_of(tmp_path / "columns", rows, "text,toxic,insult")
    lists = csv_of(tmp_path / "lists", [(f"text {n}", "\"['toxic', 'insult']\"" if n % 2 else "[]") for n in range(60)])

    columns = texts(several, data={"label": ["toxic", "insult"], "problem": "multi_label"})
    listed = texts(lists, data={"problem": "multi_label"})

    assert {tuple(row["labels"]) for row in columns.everything} == {(), ("toxic",), ("insult",), ("insult", "toxic")}
    assert {tuple(row["labels"]) for row in listed.everything} == {(), ("insult", "toxic")}


@pytest.mark.parametrize(
    "data, said",
    [
        ({"label": ""}, "[data] label is ''. Name a column, or one for each label"),
        ({"label": []}, "[data] label is []."),
        ({"label": ["a", "b"]}, "[data] label names 2 columns, and problem is multi_class. Set it to multi_label."),
    ],
)
def test_a_label_that_names_nothing_is_refused(texts, tmp_path, data, said):
    assert said in texts(csv_of(tmp_path, rows_of(10)), data=data).error


@pytest.mark.parametrize("label", ['{"name": "a"}', "[0, 1]", '["a", {"b": 1}]'])
def test_labels_that_are_no_names_are_refused_with_the_way_out(texts, tmp_path, label):
    lines = [f'{{"text": "text {n}", "label": {label}}}' for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))

    done = texts(tmp_path, data={"problem": "multi_label"})

    assert "30 of 30 examples cannot be read" in done.error
    assert "Name a member: label" in done.error or "List names, or give each label a column" in done.error


def test_a_nul_in_a_label_and_bytes_of_cp1252_are_named(texts, tmp_path):
    rows = b"text,label\n" + b"".join(b"text %d,%s\n" % (n, b"ab"[n % 2 : n % 2 + 1]) for n in range(300))
    (tmp_path / "rows.csv").write_bytes(rows + b"x,a\0\nna\xefve,b\n")

    unreadable = texts(tmp_path).facts["unreadable"]["examples"]

    assert unreadable[0] == "rows.csv, line 302: a NUL byte in the label"
    assert unreadable[1].startswith("rows.csv, line 303: not UTF-8. Is it in cp1252, as Excel writes it?")


def test_a_settings_file_may_begin_with_a_mark(texts, tmp_path):
    done = texts(csv_of(tmp_path, rows_of(60)), mark="\ufeff")

    assert done.facts["rows"] == 60


# --- pictures --------------------------------------------------------------------------------------------------------


def draw(path: Path, number: int, mode: str = "RGB", **options: Any) -> Path:
    """Draw a unique image of 4 x 4 black or white squares, from the low 16 bits of `number`; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bits = (number >> np.arange(16)).reshape(4, 4) % 2  # (4, 4)
    ink = np.kron(1 - bits, np.ones((8, 8))).astype(np.uint8)  # (32, 32): 1 is black
    if mode == "RGBA":
        image = Image.fromarray(np.stack([np.zeros_like(ink)] * 3 + [ink * 255], axis=2), "RGBA")
    elif mode == "LA":
        image = Image.fromarray(np.stack([np.zeros_like(ink), ink * 255], axis=2), "LA")
    elif mode == "P":
        image = Image.fromarray(ink, "P")
        image.putpalette([255, 255, 255, 0, 0, 0])
        image.info["transparency"] = 0
        options["transparency"] = 0
    elif mode == "I;16":
        image = Image.fromarray(((1 - ink) * options.pop("white")).astype(np.uint16))
    else:
        image = Image.fromarray((1 - ink) * 255).convert(mode)
    image.save(path, **options)
    return path


def classes_of(folder: Path, count: int = 20, **options: Any) -> Path:
    """Write two class folders, each with `count` different images; return the folder."""
    for number in range(2 * count):
        draw(folder / f"{'even' if number % 2 == 0 else 'odd'}/{number:03}.png", number + 1, **options)
    return folder


def pixels_of(prepared: Prepared) -> dict[str, bytes]:
    return {row["where"]: row["image"] for row in prepared.everything}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_the_background(pictures, tmp_path, mode):
    plain = pixels_of(pictures(classes_of(tmp_path / "plain")))
    clear = pictures(classes_of(tmp_path / "clear", mode=mode))
    black = pictures(tmp_path / "clear", task={"background": "black"}, data={"min_examples": 1})

    assert pixels_of(clear) == plain
    assert "40 examples are used of 40 rows; only 1 of them differ" in black.error


def test_the_alpha_of_webp_counts_too(pictures, tmp_path):
    classes_of(tmp_path / "plain")
    for path in sorted((tmp_path / "plain").rglob("*.png")):
        name = tmp_path / "webp" / path.parent.name / f"{path.stem}.webp"
        draw(name, int(path.stem) + 1, mode="RGBA", lossless=True)

    plain, webp = pixels_of(pictures(tmp_path / "plain")), pixels_of(pictures(tmp_path / "webp"))

    assert {name.replace(".webp", ".png"): image for name, image in webp.items()} == plain


def test_a_background_that_is_no_colour_is_refused(pictures, tmp_path):
    done = pictures(classes_of(tmp_path), task={"background": "whit"})

    assert done.error == '[task] background is \'whit\'. Give a colour, as "white" or "#ffffff".'


def test_equal_pictures_in_two_encodings_stand_on_one_side(pictures, tmp_path):
    classes_of(tmp_path, 30)
    for path in sorted(tmp_path.rglob("*.png")):
        Image.open(path).save(path.with_suffix(".bmp"))

    done = pictures(tmp_path)

    sides: dict[str, set[str]] = {}
    for row in done.everything:
        sides.setdefault(row["where"].split(".")[0], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in sides.values())
    assert done.facts["duplicates"]["rows"] == 60
    assert "warning: more than 10% of all repeat another: look at them in report/data.html" in done.said


@pytest.mark.parametrize("white, bits", [(255, 8), (1000, 10), (4095, 12), (5000, 16), (65535, 16)])
def test_greys_of_16_bits_are_scaled_by_the_bits_that_training_uses(pictures, tmp_path, white, bits):
    done = pictures(classes_of(tmp_path, mode="I;16", white=white))

    parts = next((done.output / "train").glob("*.arrow"))
    facts = json.loads(pa.ipc.open_file(str(parts)).schema.metadata[b"about"])["facts"]
    assert facts["grey_bits"] == bits
    assert max(max(image) for image in pixels_of(done).values()) == white >> (bits - 8)


def test_hidden_files_are_skipped_and_underscores_are_classes(pictures, tmp_path):
    classes_of(tmp_path)
    (tmp_path / "odd").rename(tmp_path / "__odd__")
    draw(tmp_path / "even/._001.png", 1)
    draw(tmp_path / "__MACOSX/even/001.png", 1)

    done = pictures(tmp_path)

    assert done.facts["classes"] == ["__odd__", "even"]
    assert done.facts["others"]["skipped: hidden files"]["examples"] == ["__MACOSX/even/001.png", "even/._001.png"]


@pytest.mark.parametrize("order", ["{split}/{name}", "{name}/{split}"])
def test_folders_named_for_splits_are_no_classes(pictures, tmp_path, order):
    for number in range(90):
        split = ("train", "train", "test")[number % 3]
        folder = order.format(split=split, name="even" if number % 2 == 0 else "odd")
        draw(tmp_path / folder / f"{number}.png", number + 1)

    done = pictures(tmp_path)

    assert done.facts["classes"] == ["even", "odd"]
    assert done.facts["splits"]["test"]["examples"] == 30
    assert {"test" in row["where"] for row in done.rows("test")} == {True}


def test_archives_named_for_splits_are_splits(pictures, tmp_path):
    for number in range(90):
        folder = tmp_path / ("train", "train", "val")[number % 3] / ("even" if number % 2 == 0 else "odd")
        draw(folder / f"{number}.png", number + 1)
    for split in ("train", "val"):
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
            for path in sorted((tmp_path / split).rglob("*.png")):
                archive.write(path, path.relative_to(tmp_path / split))
                path.unlink()

    facts = pictures(tmp_path).facts

    assert facts["classes"] == ["even", "odd"]
    assert facts["splits"]["validation"]["examples"] == 30
    assert facts["splits"]["test"]["examples"] == 12


@pytest.mark.parametrize("kind", ["tiff", "gif", "pgm", "ppm"])
def test_pictures_of_other_formats_are_read(pictures, tmp_path, kind):
    chance = np.random.default_rng(1)
    for number in range(24):
        path = tmp_path / f"{'ab'[number % 2]}/{number}.{kind}"
        path.parent.mkdir(exist_ok=True)
        pixels = chance.integers(0, 255, (16, 16) if kind == "pgm" else (16, 16, 3), dtype=np.uint8)
        more = {"save_all": True, "append_images": [Image.new("RGB", (16, 16))]} if kind in ("gif", "tiff") else {}
        Image.fromarray(pixels).save(path, **more)

    found = pictures(tmp_path)

    assert len(found.everything) == 24
    assert all(np.frombuffer(row["image"], np.uint8).std() > 20 for row in found.everything)  # the first frame


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_picture_that_is_no_square_is_cropped_padded_or_squashed(pictures, tmp_path, fit):
    chance = np.random.default_rng(1)
    for number in range(24):
        path = tmp_path / f"{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.zeros((32, 96, 3), dtype=np.uint8)
        pixels[:, 24:72] = 255  # the middle half is white
        pixels[8:24, 40:56] = chance.integers(0, 255, (16, 16, 3))
        Image.fromarray(pixels).save(path)

    found = pictures(tmp_path, task={"fit": fit, "background": "black"})

    row = found.everything[0]
    side = int((len(row["image"]) / 3) ** 0.5)
    pixels = np.frombuffer(row["image"], np.uint8).reshape(side, side, 3)
    assert pixels[2, side // 2, 0] == (0 if fit == "pad" else 255)
    assert pixels[side // 2, 2, 0] == (255 if fit == "crop" else 0)


def test_near_black_pictures_are_told(pictures, tmp_path):
    chance = np.random.default_rng(1)
    for number in range(24):
        path = tmp_path / f"{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(chance.integers(0, 3 if number < 12 else 255, (16, 16, 3), dtype=np.uint8)).save(path)

    assert "warning: 12 pictures are nearly black" in pictures(tmp_path).said


def pictures_and_copies(folder: Path, copies: int) -> None:
    """Write 24 different images, and half-size JPEG copies of the first `copies` of them."""
    chance = np.random.default_rng(1)
    for number in range(24):
        path = folder / f"{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(exist_ok=True)
        small = Image.fromarray(chance.integers(0, 255, (5, 5, 3), dtype=np.uint8))
        small.resize((64, 64), Image.Resampling.BICUBIC).save(path)
        if number < copies:
            Image.open(path).resize((32, 32)).save(path.with_name(f"{number}-copy.jpg"), quality=60)


def test_pictures_that_look_the_same_are_named(pictures, tmp_path):
    pictures_and_copies(tmp_path, copies=6)

    found = pictures(tmp_path)

    lookalikes = found.facts["lookalikes"]
    assert (lookalikes["compared"], lookalikes["count"]) == (30, 12)
    assert all(one.split("/")[1].split("-")[0].split(".")[0] in other for one, other in lookalikes["pairs"])
    assert "warning: 12 of the 30 pictures compared look the same as another" in found.said
    assert "look the same as another" in (found.output / "report/data.html").read_text()


def test_different_and_equal_pictures_are_no_lookalikes(pictures, tmp_path):
    pictures_and_copies(tmp_path, copies=0)
    (tmp_path / "a/again.png").write_bytes((tmp_path / "a/0.png").read_bytes())

    found = pictures(tmp_path)

    assert (found.facts["lookalikes"]["count"], found.facts["duplicates"]["rows"]) == (0, 1)
    assert "look the same" not in found.said


def test_a_manifest_may_name_pictures_below_a_folder_of_their_own(pictures, tmp_path):
    chance = np.random.default_rng(1)
    lines = ["source-ref,label,patient"]
    for number in range(24):
        path = tmp_path / f"images/inner/{number}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(chance.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
        lines.append(f"inner/{number}.png,{'ab'[number % 2]},{number // 4}")
    (tmp_path / "list.csv").write_text("\n".join(lines))

    found = pictures(tmp_path, task={"pictures": "images"}, data={"group": "patient"})
    gone = pictures(tmp_path, task={"pictures": "../elsewhere"})

    assert len(found.everything) == 24
    assert found.facts["groups"] == {"column": "patient", "count": 6}
    assert "[task] pictures is '../elsewhere', which is no folder beside list.csv" in gone.error


def test_pictures_outside_of_class_folders_are_counted_and_named(pictures, tmp_path):
    classes_of(tmp_path / "data")
    draw(tmp_path / "data/loose.png", 100)
    draw(tmp_path / "data/train/loose.png", 101)
    with zipfile.ZipFile(tmp_path / "data/more.zip", "w") as archive:
        archive.write(tmp_path / "data/loose.png", "packed.png")

    found = pictures(tmp_path / "data")

    assert len(found.everything) == 40
    assert "skipped: pictures in no class folder: 3 (loose.png, more.zip/packed.png, train/loose.png)" in found.said


@pytest.mark.parametrize("kind", ["manifest", "idx"])
def test_pictures_that_a_manifest_does_not_list_are_counted_and_named(pictures, tmp_path, kind):
    classes_of(tmp_path)
    if kind == "idx":
        values = np.random.default_rng(1).integers(0, 255, (20, 8, 8), dtype=np.uint8)
        (tmp_path / "a-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, 20, 8, 8) + values.tobytes())
        (tmp_path / "a-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 20) + bytes(n % 2 for n in range(20)))
    else:
        lines = [f"even/{n:03}.png,even\nodd/{n + 1:03}.png,odd" for n in range(0, 36, 2)]
        (tmp_path / "list.csv").write_text("\n".join(["source-ref,label", *lines, "even/036.png,"]))

    found = pictures(tmp_path)

    if kind == "idx":
        assert len(found.everything) == 20
        assert "skipped: pictures beside IDX files: 40 (even/000.png" in found.said
    else:
        assert len(found.everything) == 36
        assert "skipped: pictures not in the manifest: 3 (even/038.png, odd/037.png, odd/039.png)" in found.said


def test_a_group_of_pictures_needs_a_manifest(pictures, tmp_path):
    (tmp_path / "a").mkdir()

    assert "the pictures are listed in no manifest" in pictures(tmp_path, data={"group": "patient"}).error


def test_an_archive_or_a_manifest_may_be_given_itself(pictures, tmp_path):
    classes_of(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted((tmp_path / "in").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "in"))
    lines = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted((tmp_path / "in").rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["source-ref,label", *lines]))

    assert pictures(tmp_path / "all.zip").facts["classes"] == ["even", "odd"]
    assert len(pictures(tmp_path / "list.csv").everything) == 40


def test_class_folders_of_one_name_at_several_places_are_told(pictures, tmp_path):
    for number in range(80):
        folder = ("2020", "2021/again")[number // 40] + ("/even" if number % 2 == 0 else "/odd")
        draw(tmp_path / folder / f"{number}.png", number + 1)

    done = pictures(tmp_path)

    assert done.facts["classes"] == ["even", "odd"]
    assert "records in class folders of one name at several places: 40 (2021/again/even/40.png, " in done.said


def manifest(folder: Path, change: Callable[[dict, int], dict] = lambda row, number: row) -> list[dict]:
    """Write 120 images below images/ and an augmented manifest of them; return its rows, each changed by `change`."""
    rows = []
    for number in range(120):
        draw(folder / f"images/{number}.png", number + 1)
        row = {"source-ref": f"s3://bucket/some/images/{number}.png", "label": number % 2}
        rows.append(change(row | {"label-metadata": {"class-map": {"0": "even", "1": "odd"}}}, number))
    (folder / "list.manifest").write_text("\n".join(map(json.dumps, rows)))
    return rows


def test_a_class_map_with_numbers_and_failed_rows(pictures, tmp_path):
    failed = {"label-metadata": {"failure-reason": "ClientError: annotation failed"}}
    manifest(tmp_path, lambda row, number: row | failed if number == 7 else row)

    done = pictures(tmp_path)

    assert done.facts["classes"] == ["even", "odd"]
    assert done.facts["unreadable"]["examples"] == [
        "list.manifest, line 8: it was not labelled: ClientError: annotation failed"
    ]


def test_one_prefix_holds_for_the_whole_manifest(pictures, tmp_path):
    manifest(tmp_path, lambda row, n: row | {"source-ref": "s3://bucket/other/images/5.png"} if n == 5 else row)

    done = pictures(tmp_path)

    assert done.facts["unreadable"]["examples"] == [
        "list.manifest, line 6: s3://bucket/other/images/5.png is not in the data"
    ]


@pytest.mark.parametrize("encoding, rows", [("utf-16", 120), ("latin-1", 119), ("utf-8-sig", 120)])
def test_manifests_in_other_encodings(pictures, tmp_path, encoding, rows):
    manifest(tmp_path)
    lines = ["source-ref,label"]
    for number in range(120):
        lines.append(f"images/{number}.png,{'odd' if number % 2 else 'even'}")
    lines[4] = "images/3.png,größe" if encoding == "latin-1" else lines[4]
    (tmp_path / "list.manifest").unlink()
    (tmp_path / "list.csv").write_bytes("\n".join(lines).encode(encoding))

    done = pictures(tmp_path)

    assert len(done.everything) == rows
    if encoding == "latin-1":
        assert done.facts["unreadable"]["examples"][0].startswith("list.csv, line 5: not UTF-8")
