"""Bad data: it ends in a clear error, or is dropped, counted and reported; no partial output, no hang."""

import gzip
import io
import json
import os
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.bad_files import storm
from benchmarks.forked import Forked
from build.assemble import assemble, write


@pytest.fixture(scope="module", params=["nlp"])
def texts(tmp_path_factory):
    yield from landed("nlp", tmp_path_factory)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    yield from landed("cv", tmp_path_factory)


def landed(variant, tmp_path_factory):
    """Yield an assembled repository and its preprocess.py, imported once and forked for each run."""
    repository = tmp_path_factory.mktemp(variant) / "landed"
    write(assemble(variant), repository)
    script = Forked(repository, "data.preprocess")
    yield script, repository
    script.end()


def preprocess(landed, data: Path, **changes: str):
    """Preprocess a folder; return the exit status, the output, and the data report ({} if there is none).

    `changes` maps text of settings.toml to its replacement, for this run only. No *.partial file may be left.
    """
    script, repository = landed
    settings = repository / "settings.toml"
    before = settings.read_text()
    output = data.parent / "prepared"
    try:
        for old, new in changes.items():
            settings.write_text(settings.read_text().replace(old, new))
        code, said = script.run(["--data", data, "--output", output], data.parent / "log")
    finally:
        settings.write_text(before)
    report = output / "report/data.json"
    left = [str(path) for path in output.rglob("*.partial")]
    assert not left
    return code, said, json.loads(report.read_text()) if report.exists() else {}


# --- texts -------------------------------------------------------------------------------------------------------------

GOOD = [(f"text number {i} {'fine' if i % 2 else 'bad'}", "good" if i % 2 else "bad") for i in range(200)]


def csv_of(rows, header="text,label") -> bytes:
    return "\n".join([header, *(",".join(f'"{value}"' for value in row) for row in rows), ""]).encode()


def text_data(tmp_path, content: bytes, name: str = "data.csv") -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).write_bytes(content)
    return folder


REFUSED_TEXTS = {
    "an empty file": (b"", "error: the data holds no rows"),
    "a header only": (b"text,label\n", "error: the data holds no rows"),
    "one class": (csv_of((text, "good") for text, _ in GOOD), "error: the data has 1 class (good). At least 2"),
    "no label at all": (csv_of((text, "") for text, _ in GOOD), "error: the data has 0 class (none)"),
    "two examples": (csv_of(GOOD[:2]), "error: the data has 0 class (none). At least 2 are needed. Left out: 2"),
    "another column": (csv_of(GOOD, "text,stars"), "error: column 'label' not in data.csv, which has: text, stars"),
    "Latin-1 throughout": (csv_of((f"café {t}", y) for t, y in GOOD).decode().encode("latin-1"), "not UTF-8"),
}


@pytest.mark.parametrize("case", REFUSED_TEXTS)
def test_texts_that_cannot_be_used_end_in_one_line(texts, tmp_path, case):
    content, expected = REFUSED_TEXTS[case]

    code, said, report = preprocess(texts, text_data(tmp_path, content))

    assert (code, report) == (1, {})
    assert expected in said
    assert "Traceback" not in said


ONE_IS_ENOUGH = {"min_examples = 2": "min_examples = 1"}


def test_a_class_with_one_example_is_trained_on_and_said_to_be_missing_elsewhere(texts, tmp_path):
    data = text_data(tmp_path, csv_of([*GOOD, ("what is this", "odd")]))
    code, said, report = preprocess(texts, data, **ONE_IS_ENOUGH)

    assert code == 0
    assert report["splits"]["train"]["classes"]["odd"] == 1
    assert "test: no example of odd" in said


def test_labels_that_are_no_number_are_no_labels_and_numbers_are_names(texts, tmp_path):
    rows = [{"text": text, "label": 1 if label == "good" else 0.0} for text, label in GOOD]
    rows += [{"text": "no label", "label": None}, {"text": "not a number", "label": float("nan")}]
    content = "\n".join(map(json.dumps, rows)).encode()

    code, _, report = preprocess(texts, text_data(tmp_path, content, "data.jsonl"))

    assert (code, report["classes"], report["dropped"]) == (0, ["0", "1"], {"no label": 2})


def test_labels_that_training_has_not_are_reported(texts, tmp_path):
    rows = [(text, f"{label}|x{i}") for i, (text, label) in enumerate(GOOD)]

    code, said, _ = preprocess(
        texts,
        text_data(tmp_path, csv_of(rows)),
        **{'problem = "multi_class"': 'problem = "multi_label"', 'label_separator = ""': 'label_separator = "|"'},
        **ONE_IS_ENOUGH,
    )

    assert code == 0
    assert "train: no example of" in said


EXCLUDED_TEXTS = {
    "mixed encodings": ("café au lait,good".encode("latin-1"), "data.csv, line 202: not UTF-8"),
    "a NUL byte": (b"one\0two,good", "data.csv, line 202: a NUL byte in the text"),
    "too many columns": (b"one, two, three,good", "data.csv, line 202: 4 values for 2 columns"),
}


@pytest.mark.parametrize("case", EXCLUDED_TEXTS)
def test_a_row_that_cannot_be_read_is_left_out_and_named(texts, tmp_path, case):
    row, expected = EXCLUDED_TEXTS[case]

    code, said, report = preprocess(texts, text_data(tmp_path, csv_of(GOOD) + row + b"\n"))

    assert (code, report["unreadable"]["count"], report["rows"]) == (0, 1, 201)
    assert report["unreadable"]["examples"][0].startswith(expected)
    assert expected in said


def test_a_megabyte_in_one_row_is_cut_and_counted(texts, tmp_path):
    code, _, report = preprocess(texts, text_data(tmp_path, csv_of([*GOOD, ("long " * 200_000, "good")])))

    assert (code, report["cut"], report["size"]["most"]) == (0, {"count": 1, "limit": 10000}, 999_999)


def test_an_empty_text_is_dropped_and_a_double_one_reported(texts, tmp_path):
    code, said, report = preprocess(texts, text_data(tmp_path, csv_of([*GOOD, ("", "good"), *GOOD[:3]])))

    assert (code, report["dropped"]) == (0, {"empty": 1})
    assert report["duplicates"] == {"rows": 3, "texts": 3, "with_different_labels": 0}
    assert "duplicates: 3 rows repeat another" in said


UNREADABLE = {
    "data.parquet": (b"PAR1 not really", "error: data.parquet is not a Parquet file that can be read"),
    "data.txt": (b"text", "error: no .csv, .tsv, .json, .jsonl, .ndjson, .parquet file in data"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_shard_that_cannot_be_read_is_named(texts, tmp_path, name):
    content, expected = UNREADABLE[name]

    code, said, _ = preprocess(texts, text_data(tmp_path, content, name))

    assert (code, "Traceback" in said) == (1, False)
    assert expected.replace("in data", f"in {tmp_path / 'data'}") in said


def test_lines_that_are_no_json_are_left_out_until_they_are_too_many(texts, tmp_path):
    good = [json.dumps({"text": text, "label": label}) for text, label in GOOD]
    data = text_data(tmp_path, "\n".join([*good, "{", "[" * 100_000]).encode(), "data.jsonl")

    code, said, report = preprocess(texts, data)
    (data / "data.jsonl").write_text("{\n" * 10 + "\n".join(good))
    refused, reason, _ = preprocess(texts, data)

    assert (code, report["unreadable"]["count"]) == (0, 2)
    assert "Traceback" not in said
    assert refused == 1
    assert "10 of 210 examples cannot be read, more than [data] unreadable_share (0.01)" in reason


def test_a_link_out_of_the_data_is_not_followed(texts, tmp_path):
    (tmp_path / "secret.csv").write_bytes(csv_of([("secret", "good")]))
    data = text_data(tmp_path, csv_of(GOOD))
    os.symlink(tmp_path / "secret.csv", data / "link.csv")

    code, _, report = preprocess(texts, data)

    assert (code, report["rows"]) == (0, 201)
    assert report["unreadable"]["examples"] == ["link.csv: a link that leads out of the data folder"]


# --- pictures ----------------------------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def picture_data(tmp_path, **more: bytes) -> Path:
    """Write two classes of 100 images each, and the images `more` into cat/; return the folder."""
    folder = tmp_path / "data"
    for name, base in (("cat", 0), ("dog", 128)):
        (folder / name).mkdir(parents=True)
        for number in range(100):
            (folder / name / f"{number:03}.png").write_bytes(encoded(Image.new("RGB", (20, 20), (base + number, 9, 9))))
    for name, content in more.items():
        (folder / "cat" / name).write_bytes(content)
    return folder


def bomb(side: int) -> bytes:
    """Return a decompression bomb: a small PNG of side x side black pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # One bit a pixel, greyscale: each row is a filter byte and then 8 pixels a byte.
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


JPEG = encoded(Image.effect_noise((200, 200), 90).convert("RGB"), "JPEG")
LEFT_OUT = {
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "not a picture that can be decoded: image file is truncated"),
    "empty.jpg": (b"", "not a picture that can be decoded"),
    "one.png": (encoded(Image.new("RGB", (1, 1))), "1 x 1 pixels, less than 4 on a side"),
    "layers.psd": (b"8BPS", "not one of .jpg, .jpeg, .png, .webp, .bmp, .tif, .tiff, .gif, .pgm, .ppm, .pnm"),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture that can be decoded"),
    "floats.tif": (encoded(Image.new("F", (20, 20)), "TIFF"), "32-bit floats have no defined range"),
    "bomb.png": (bomb(20_000), "not a picture that can be decoded: Image size (400000000 pixels) exceeds"),
    "map.png": (bomb(11_000), "11000 x 11000 pixels, more than 100,000,000"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_picture_that_cannot_be_used_is_left_out_and_named(pictures, tmp_path, name):
    content, expected = LEFT_OUT[name]

    code, said, report = preprocess(pictures, picture_data(tmp_path, **{name: content}))

    assert (code, report["unreadable"]["count"]) == (0, 1), said
    assert report["unreadable"]["examples"][0].startswith(f"cat/{name}: {expected}")


READ = {
    "cmyk.jpg": encoded(Image.new("CMYK", (30, 30), (10, 20, 30, 40)), "JPEG"),
    "grey.png": encoded(Image.new("L", (30, 30), 77)),
    "deep.png": encoded(Image.new("I;16", (30, 30), 0x8000)),
    "palette.png": encoded(Image.new("P", (30, 30), 3)),
    "clear.png": encoded(Image.new("RGBA", (30, 30), (1, 2, 3, 0))),
}


def test_pictures_of_other_kinds_become_rgb(pictures, tmp_path):
    code, said, report = preprocess(pictures, picture_data(tmp_path, **READ))

    assert (code, report["unreadable"]["count"], report["rows"]) == (0, 0, 205), said


def test_too_many_broken_pictures_stop_preprocessing(pictures, tmp_path):
    broken = {f"broken{i}.png": b"no" for i in range(10)}

    code, said, report = preprocess(pictures, picture_data(tmp_path, **broken))

    assert (code, report) == (1, {})
    assert "10 of 210 examples cannot be read" in said
    assert "cat/broken0.png: not a picture that can be decoded" in said


def test_a_link_out_of_the_pictures_is_not_followed(pictures, tmp_path):
    (tmp_path / "secret.png").write_bytes(encoded(Image.new("RGB", (30, 30))))
    data = picture_data(tmp_path)
    os.symlink(tmp_path / "secret.png", data / "cat/link.png")

    _, _, report = preprocess(pictures, data)

    assert report["unreadable"]["examples"] == ["cat/link.png: a link that leads out of the data folder"]


def test_a_name_that_an_archive_holds_twice_is_read_once(pictures, tmp_path):
    data = picture_data(tmp_path)
    with zipfile.ZipFile(data / "more.zip", "w") as archive:
        archive.writestr("cat/1.png", encoded(Image.new("RGB", (30, 30), (1, 1, 1))))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("cat/1.png", encoded(Image.new("RGB", (30, 30), (2, 2, 2))))

    code, _, report = preprocess(pictures, data)

    assert (code, report["unreadable"]["examples"]) == (0, ["more.zip/cat/1.png: a second file of this name"])


def test_equal_names_in_two_archives_are_two_pictures(pictures, tmp_path):
    data = picture_data(tmp_path)
    for number in (1, 2):
        with zipfile.ZipFile(data / f"{number}.zip", "w") as archive:
            archive.writestr("cat/1.png", encoded(Image.new("RGB", (30, 30), (number, 1, 1))))

    code, _, report = preprocess(pictures, data)

    assert (code, report["rows"], report["unreadable"]["count"]) == (0, 202, 0)


BROKEN_SHARDS = {
    "broken.zip": (b"PK no", "broken.zip is not a zip archive that can be read"),
    "broken.manifest": (b"{", "broken.manifest, line 1: not JSON"),
    "t-images-idx3-ubyte": (b"\0\0", "has no labels: t-labels-idx1-ubyte is not there"),
}


@pytest.mark.parametrize("name", BROKEN_SHARDS)
def test_a_shard_of_pictures_that_cannot_be_read_is_named(pictures, tmp_path, name):
    content, expected = BROKEN_SHARDS[name]
    data = picture_data(tmp_path)
    (data / name).write_bytes(content)

    code, said, _ = preprocess(pictures, data)

    assert (code, "Traceback" in said) == (1, False)
    assert expected in said


def test_an_idx_file_that_ends_too_soon_is_named(pictures, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    images = struct.pack(">4i", 2051, 5, 28, 28) + bytes(28 * 28 * 2)
    (data / "t-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (data / "t-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">2i", 2049, 5) + bytes(5)))

    code, said, _ = preprocess(pictures, data)

    assert code == 1
    assert "t-images-idx3-ubyte.gz ends after 2 of 5 pictures" in said


def test_files_that_are_damaged_at_random_end_in_words(tmp_path):
    ends, failures = storm(tmp_path, 25, random.Random(7))

    assert failures == []
    assert sum(ends.values()) == 25
    assert len(ends) >= 2
