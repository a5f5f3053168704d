"""Media types of an endpoint: it reads what batch transform and browsers send, and reports an error in one sentence."""

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "seed_code/common"))

from spotkit.serving import media  # noqa: E402  (what lands in a repository is no package)

ANSWERS = [{"label": "a, b", "scores": {"a, b": 0.75, "c": 0.25}}, {"label": "c", "scores": {"c": 1.0, "a, b": 0.0}}]


@pytest.mark.parametrize(
    "content_type, expected",
    [
        ("Application/JSON; Charset=UTF-8", ("application/json", "UTF-8")),
        ("text/csv;charset=latin-1", ("text/csv", "latin-1")),
        ("application/x-ndjson", ("application/jsonlines", "utf-8")),
        ("image/PNG", ("image/png", "utf-8")),
        ("", ("application/json", "utf-8")),
    ],
)
def test_a_content_type_is_compared_without_case(content_type, expected):
    assert media.parse(content_type) == expected


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: media.parse("text/plain; charset=klingon"), "charset klingon is not known. Send UTF-8."),
        (lambda: media.text_of(b"\xff", "utf-8"), "the request is not utf-8. Send UTF-8, or name its charset"),
        (lambda: media.text_of(b" \n", "utf-8"), "the request is empty. Send at least one item."),
        (lambda: media.items_of("[" * 100_000, media.ONE), "the request is nested too deep.|the request is not JSON"),
        (lambda: media.items_of('"a"\n{', media.LINES), "item 2: the request is not JSON: "),
        (lambda: media.items_of("{", media.ONE), "the request is not JSON: "),
        (lambda: media.rows_of('"a'), "the request is not CSV: unexpected end of data."),
        (
            lambda: media.answer_as("text/html"),
            "an answer in text/html is not to be had. Accept one of: application/json,",
        ),
        (lambda: media.one_by_one(["1", "x"], int), "item 2: invalid literal"),
        (lambda: media.one_by_one(["x"], int), "^invalid literal"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_item(call, said):
    with pytest.raises(ValueError, match=said) as refused:
        call()

    assert len(str(refused.value).splitlines()) == 1


def test_items_are_a_value_a_list_or_lines():
    assert media.items_of('{"inputs": ["a", "b"]}', media.ONE) == ["a", "b"]
    assert media.items_of('"a"', media.ONE) == ["a"]
    assert media.items_of('"a"\n\n{"inputs": "b"}\r\n{"text": "c"}', media.LINES) == ["a", "b", {"text": "c"}]
    assert media.rows_of('a,"b, c"\n\nd,e\r\n') == [["a", "b, c"], ["d", "e"]]


@pytest.mark.parametrize(
    "accept, expected",
    [
        ("", media.ONE),
        ("*/*", media.ONE),
        ("Text/CSV", media.CSV),
        ("text/html, application/jsonlines;q=0.5", media.LINES),
        ("application/jsonl", media.LINES),
    ],
)
def test_the_answer_is_the_first_that_is_asked_for_and_can_be_written(accept, expected):
    assert media.answer_as(accept) == expected


def test_answers_are_written_one_a_line():
    assert media.written(ANSWERS, media.CSV) == '"a, b",0.75\nc,1.0\n'
    assert len(media.written(ANSWERS, media.LINES).splitlines()) == 2
    assert media.written([{"labels": ["x", "y"], "scores": {"x": 0.9, "y": 0.8}}], media.CSV) == (
        '"[""x"", ""y""]","[0.9, 0.8]"\n'
    )
