"""The check of definitions under random changes: each is caught or harmless, and no input makes the check crash."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.mutations import JSON, QUIET, THEIRS, VALID, harmless, mutated
from spotkit import checks


@pytest.mark.parametrize("name", VALID)
def test_the_valid_definitions_run_on_paper(name):
    assert harmless(VALID[name]) == ""


@settings(max_examples=200, **QUIET)
@given(mutated())
def test_a_change_is_caught_or_harmless(definition):
    assert checks.check(definition, THEIRS)
    assert checks.check(definition) or not harmless(definition)


@settings(max_examples=100, **QUIET)
@given(JSON)
def test_any_json_is_answered(value):
    assert checks.check(value)


@settings(max_examples=100, **QUIET)
@given(
    JSON, st.sampled_from(["Processing", "Training", "Tuning", "Model", "RegisterModel", "Lambda", "Condition", "EMR"])
)
def test_any_arguments_are_answered(value, kind):
    step = {"Name": "Step", "Type": kind, "Arguments": value}

    definition = {"Version": "2020-12-01", "Steps": [step]}

    assert isinstance(checks.check(definition), list)
    assert checks.check(definition, THEIRS) or kind == "Lambda"


@settings(max_examples=100, **QUIET)
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_text_is_read_or_refused_in_words(text):
    try:
        read = checks.read(text)
    except ValueError as error:
        read = str(error)

    assert read or text in (b"0", b"0.0", b"-0.0", b"null", b"false", b'""', b"[]", b"{}")
