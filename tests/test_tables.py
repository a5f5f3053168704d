"""Tables in real files: every row is read right, or dropped, counted and reported with its place."""

import codecs
import csv
import gzip
import io
import json
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "seed_code/common"))

from spotkit.data import tables  # noqa: E402  (what lands in a repository is no package)
from spotkit.data.examples import Skipped, Unreadable  # noqa: E402

NEEDED = {"text": "[task] text", "label": "[data] label"}
ROWS = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(200)]


def as_csv(rows=ROWS, delimiter: str = ",", columns=("text", "label")) -> str:
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, delimiter=delimiter, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def read(path: Path, content: str | bytes | None = None, needed=NEEDED):
    """Return the rows of a file or folder as (text, label), and the entries that are unreadable or skipped.

    `content`, if given, is written to the file first.
    """
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    found, odd = [], []
    for table in tables.find(path):
        for row in tables.rows(table, needed) if isinstance(table, tables.Table) else [table]:
            content = getattr(row, "content", row)
            if isinstance(content, dict):
                found.append(tuple(tables.as_text(tables.value_at(content, name), name) for name in needed))
            else:
                odd.append(content)
    return found, odd


EXPECTED = [(row["text"], row["label"]) for row in ROWS]


def spoilt(number: int, line: str, text: str = "") -> str:
    """Return `text`, by default 200 rows, with line `number` replaced; line 1 is the header."""
    lines = (text or as_csv()).splitlines()
    lines[number - 1] = line
    return "\n".join(lines) + "\n"


# --- quotes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 20, 199, 200, 201])
@pytest.mark.parametrize("line", ['"text,a', 'text,"a', '"te""xt,a'])
def test_a_quote_that_never_closes_costs_its_line_alone(tmp_path, number, line):
    found, odd = read(tmp_path / "rows.csv", spoilt(number, line))

    rest = EXPECTED[: number - 2] + EXPECTED[number - 1 :]
    kept = [row for row in found if row not in rest]  # a stray quote in the last value may be tolerated
    assert [row for row in found if row in rest] == rest
    assert kept in ([], [("text", "a")])
    assert [each.where for each in odd] == ([] if kept else [f"rows.csv, line {number}"])


def test_two_quotes_that_never_close_cost_two_lines(tmp_path):
    found, odd = read(tmp_path / "rows.csv", spoilt(80, '"y,b', spoilt(20, '"x,a')))

    assert [each.where for each in odd] == ["rows.csv, line 20", "rows.csv, line 80"]
    assert len(found) == 198


@pytest.mark.parametrize("closing", ['ends with a quote",b', '",",b', '"",x",b', '"\n'])
def test_a_quote_that_another_line_closes_by_chance_swallows_nothing(tmp_path, closing):
    found, odd = read(tmp_path / "rows.csv", spoilt(80, closing, spoilt(20, '"x,a')))

    assert "rows.csv, line 20" in [each.where for each in odd]
    assert set(EXPECTED[20:77]) <= set(found)
    assert len(found) + len(odd) >= 199


def test_a_quote_swallows_nothing_where_texts_have_quotes_of_their_own(tmp_path):
    rows = [{"text": f'number {n}, he said "so", and left', "label": "ab"[n % 2]} for n in range(200)]
    lines = as_csv(rows).splitlines()
    lines[19] = lines[19].replace('left"', "left")

    found, odd = read(tmp_path / "rows.csv", "\n".join(lines))

    assert len(found) == 199
    assert [each.where for each in odd] == ["rows.csv, line 20"]


def test_texts_over_several_lines_stay_whole_and_very_long_ones_are_noted(tmp_path):
    poem = 'roses are red,\nviolets, too\n\nsay "I"'
    long = "\n".join(f"line {n}" for n in range(60))
    rows = [{"text": poem, "label": "a"}, {"text": long, "label": "b"}, {"text": "short", "label": "a"}]

    (table,) = tables.find(write(tmp_path / "rows.csv", as_csv(rows)))
    found = list(tables.rows(table, NEEDED))

    assert [row.content["text"] for row in found] == [poem, long, "short"]
    assert [row.where for row in found] == ["rows.csv, line 2", "rows.csv, line 6", "rows.csv, line 66"]
    assert [row.note for row in found] == ["", "over more than 50 lines", ""]


def test_letters_whose_lines_have_a_comma_each_are_no_rows(tmp_path):
    letter = "Dear all,\nthank you, once more\nas ever, yours\nand so on, always\nbye, bye\nAnna, Berlin"
    rows = [*ROWS[:50], {"text": letter, "label": "a"}, *ROWS[50:]]

    found, odd = read(tmp_path / "rows.csv", as_csv(rows))

    assert (len(found), odd) == (201, [])


def test_sloppy_quotes_inside_of_a_line_are_read_as_they_are_meant(tmp_path):
    found, odd = read(tmp_path / "rows.csv", 'text,label\n"he said "hi" there",a\n5" of snow,b\n')

    assert [label for _, label in found] == ["a", "b"]
    assert found[1][0] == '5" of snow'
    assert odd == []


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, reason",
    [("a,b,c,d", "4 values for 2 columns; quote what holds a ','"), ("alone", "only 1 values for 2 columns")],
)
def test_a_row_with_too_many_or_too_few_values_is_unreadable(tmp_path, line, reason):
    found, odd = read(tmp_path / "rows.csv", spoilt(20, line))

    assert len(found) == 199
    assert odd == [Unreadable("rows.csv, line 20", reason)]


def test_headers_in_the_middle_of_joined_files_are_skipped(tmp_path):
    found, odd = read(tmp_path / "rows.csv", as_csv() + "\n" + as_csv().replace("text,label", "text, label ") + "\n\n")

    assert found == EXPECTED * 2
    assert odd == [Skipped("rows.csv, line 203", "repeated header lines")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_the_separator_is_the_one_with_which_the_columns_are_there(tmp_path, delimiter, name):
    rows = [{"text": f"a{delimiter} b, {n}", "label": "ab"[n % 2]} for n in range(9)]

    found, odd = read(tmp_path / name, as_csv(rows, delimiter))

    assert ([text for text, _ in found], odd) == ([row["text"] for row in rows], [])


def test_spaces_behind_separators_and_around_headers_do_not_matter(tmp_path):
    found, odd = read(tmp_path / "rows.csv", 'text , label\n"a, b", x\nplain, y\n')

    assert (found, odd) == ([("a, b", "x"), ("plain", "y")], [])


def test_a_column_that_is_missing_or_twice_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"column 'label' not in rows.csv, which has: text, stars. Set \[data\] label"):
        read(tmp_path / "rows.csv", "text;stars\na;1\n")
    with pytest.raises(ValueError, match="rows.csv has the column 'text' twice. Rename one of them."):
        read(tmp_path / "rows.csv", "text,label,text\na,1,b\n")


# --- encodings and containers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoded",
    [
        codecs.BOM_UTF8 + as_csv().encode(),
        as_csv().encode("utf-16"),
        codecs.BOM_UTF16_BE + as_csv().encode("utf-16-be"),
        as_csv().encode("utf-32"),
        as_csv().replace("\n", "\r\n").encode(),
        as_csv().replace("\n", "\r").encode(),
    ],
    ids=["a mark", "UTF-16", "UTF-16 BE", "UTF-32", "CRLF", "CR"],
)
def test_marks_say_the_encoding_and_lines_end_in_any_way(tmp_path, encoded):
    assert read(tmp_path / "rows.csv", encoded) == (EXPECTED, [])


def test_utf_16_without_a_mark_is_told(tmp_path):
    with pytest.raises(ValueError, match="rows.csv holds NUL bytes, as UTF-16 without its mark does. Save it as UTF-8"):
        read(tmp_path / "rows.csv", as_csv().encode("utf-16-le"))


def test_utf_16_that_breaks_off_is_told(tmp_path):
    with pytest.raises(ValueError, match="rows.csv cannot be read: .*truncated"):
        read(tmp_path / "rows.csv", as_csv().encode("utf-16")[:-1])


def test_compressed_files_and_archives_are_read_where_they_are(tmp_path):
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("one/rows.csv", as_csv(ROWS[:50]))
        archive.writestr("two.tsv.gz", gzip.compress(as_csv(ROWS[50:100], "\t").encode()))
        archive.writestr("__MACOSX/._rows.csv", b"\0\1")
        archive.writestr("readme.txt", "text,label")
    (tmp_path / "aaa.csv.gz").write_bytes(gzip.compress(as_csv(ROWS[100:]).encode()))

    found, odd = read(tmp_path)

    assert found == EXPECTED[100:] + EXPECTED[:100]
    assert odd == [Skipped("rows.zip/__MACOSX/._rows.csv", "hidden files")]
    assert read(tmp_path / "rows.zip")[0] == EXPECTED[:100]


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.zip", "rows.parquet"])
def test_what_is_no_archive_is_told_by_its_name(tmp_path, name):
    with pytest.raises(ValueError, match=name):
        read(tmp_path / name, as_csv())


def test_hidden_files_and_folders_are_skipped_and_named(tmp_path):
    for name in (".ipynb_checkpoints/rows-checkpoint.csv", "._rows.csv", "a/.hidden/rows.csv", "_year/rows.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(as_csv(ROWS[:2]))

    found, odd = read(tmp_path)

    assert found == EXPECTED[:2]
    assert sorted(each.where for each in odd) == [
        "._rows.csv", ".ipynb_checkpoints/rows-checkpoint.csv", "a/.hidden/rows.csv",
    ]  # fmt: skip


def test_a_file_whose_name_is_not_utf_8_is_read_and_told(tmp_path):
    name = str(tmp_path) + "/\udcff.csv"
    Path(name).write_text(spoilt(3, "a,b,c"))

    found, odd = read(tmp_path)

    assert len(found) == 199
    assert odd[0].where.encode() == b"?.csv, line 3"


# --- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.ndjson"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "\n".join(map(json.dumps, ROWS)),
        "\n\n".join(map(json.dumps, ROWS)) + "\r\n",
    ],
    ids=["array", "indented", "lines", "empty lines"],
)
def test_json_is_an_array_or_lines(tmp_path, name, text):
    assert read(tmp_path / name, text) == (EXPECTED, [])


def test_a_large_array_is_read_piece_by_piece(tmp_path):
    rows = [{"text": "x" * n, "label": "a", "more": [1, {"deep": "]}"}]} for n in range(0, 2000)]

    assert len(read(tmp_path / "rows.json", json.dumps(rows))[0]) == 2000


@pytest.mark.parametrize(
    "text, said",
    [
        (json.dumps(ROWS)[:-5], "breaks off at item 200"),
        ('[{"text": "a", "label": "b"} nonsense', "breaks off at item 2"),
        ('[{"text": ' + "[" * 100_000, "item 1 is nested too deep|breaks off"),
    ],
)
def test_an_array_that_breaks_off_is_told(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "rows.json", text)


def test_lines_that_are_no_objects_are_unreadable_and_rows_without_a_column_have_none(tmp_path):
    lines = [json.dumps(ROWS[0]), '{"text": "no label"}', "{broken", '"text"', "5", json.dumps(ROWS[1])]

    found, odd = read(tmp_path / "rows.jsonl", "\n".join(lines))

    assert found == [EXPECTED[0], ("no label", ""), EXPECTED[1]]
    assert [each.where for each in odd] == ["rows.jsonl, line 3", "rows.jsonl, line 4", "rows.jsonl, line 5"]


def test_a_column_that_no_object_has_is_named(tmp_path):
    with pytest.raises(ValueError, match="column 'label' not in rows.jsonl, which has: text, stars"):
        read(tmp_path / "rows.jsonl", '{"text": "a"}\n{"text": "b", "stars": 1}\n')


# --- values ----------------------------------------------------------------------------------------------------------


def test_values_are_the_same_in_csv_json_and_parquet(tmp_path):
    values = [True, False, 1, 1.0, 2.5, None, float("nan"), "", "1.0", "true", "TRUE", "nan", " a "]
    expected = ["true", "false", "1", "1", "2.5", "", "", "", "1", "true", "true", "", "a"]
    lines = [json.dumps({"text": "t", "label": value}) for value in values]
    texts = ["True", "False", "1", "1.0", "2.5", "", "nan", "", "1.0", "true", "TRUE", "NaN", " a "]

    assert [label for _, label in read(tmp_path / "rows.jsonl", "\n".join(lines))[0]] == expected
    assert [
        label for _, label in read(tmp_path / "rows.csv", "text,label\n" + "".join(f"t,{v}\n" for v in texts))[0]
    ] == expected
    for kind, given in (("bool", values[:2]), ("float", [1.0, 2.5, None, float("nan")]), ("string", texts)):
        column = pa.array(given, pa.float64() if kind == "float" else None)
        pq.write_table(pa.table({"text": ["t"] * len(given), "label": column}), tmp_path / "rows.parquet")
        assert [label for _, label in read(tmp_path / "rows.parquet")[0]] == {
            "bool": ["true", "false"], "float": ["1", "2.5", "", ""], "string": expected,
        }[kind]  # fmt: skip


def test_hive_partitions_are_columns(tmp_path):
    for label in ("good%20one", "bad"):
        folder = tmp_path / f"year=2020/label={label}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"text": ["x"]}), folder / "part-0.snappy.parquet")

    assert read(tmp_path)[0] == [("x", "bad"), ("x", "good one")]


def test_members_of_objects_are_named_by_their_path_and_whole_objects_are_refused(tmp_path):
    rows = [{"review": {"body": "fine", "stars": 5}, "label": "a"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]))
    path = {"review.body": "[task] text", "label": "[data] label"}

    assert read(tmp_path, needed=path)[0] == [("fine", "a")] * 2
    with pytest.raises(tables.NoText, match="'review' holds an object with: body, stars. Name a member: review.body"):
        tables.as_text(rows[0]["review"], "review")


@pytest.mark.parametrize(
    "value, said",
    [(["a"], "holds a list"), (b"\xff", "holds bytes that are not UTF-8"), ({}, r"holds an object with: \. Name")],
)
def test_what_is_no_text_is_told(value, said):
    with pytest.raises(tables.NoText, match=said):
        tables.as_text(value, "text")


def test_bytes_of_utf_8_are_text():
    assert tables.as_text("größer".encode(), "text") == "größer"


@pytest.mark.parametrize(
    "row, label, expected",
    [
        ({"label": "['a', 'b']"}, "label", ["a", "b"]),
        ({"label": '["a", "b"]'}, "label", ["a", "b"]),
        ({"label": ["a", None, "b"]}, "label", ["a", "b"]),
        ({"label": "[]"}, "label", []),
        ({"label": "[not a list]"}, "label", ["[not a list]"]),
        ({"label": "a"}, "label", ["a"]),
        ({"toxic": "1", "insult": 0, "threat": True}, ["toxic", "insult", "threat"], ["toxic", "threat"]),
        ({"toxic": 1.0, "insult": "", "threat": "False"}, ["toxic", "insult", "threat"], ["toxic"]),
    ],
)
def test_several_labels_are_a_list_or_a_column_each(row, label, expected):
    assert tables.labels_of(row, label, multi_label=True) == expected


@pytest.mark.parametrize(
    "row, label, said",
    [
        ({"label": [0, 1, 0]}, "label", "holds ones and zeros. List names, or give each label a column"),
        ({"label": "[0, 1]"}, "label", "holds ones and zeros"),
        ({"label": [{"name": "a"}]}, "label", "holds an object with: name"),
        (
            {"toxic": "maybe", "insult": "0"},
            ["toxic", "insult"],
            "'toxic' is 'maybe', and a label's column holds 1 or 0",
        ),
        ({"toxic": 2, "insult": "0"}, ["toxic", "insult"], "'toxic' is '2'"),
    ],
)
def test_labels_that_are_no_names_are_told(row, label, said):
    with pytest.raises(tables.NoText, match=said):
        tables.labels_of(row, label, multi_label=True)
