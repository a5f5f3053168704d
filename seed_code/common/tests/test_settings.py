"""settings.toml is valid, or the build reports in one line what is wrong with it."""

import copy

import pytest

import task
from spotkit import settings


def test_the_settings_are_known_to_the_code_that_reads_them():
    chosen = settings.load()

    settings.check_section("task", chosen["task"], task.SETTINGS)


def test_a_misspelt_key_is_named_with_the_one_that_was_meant():
    chosen = copy.deepcopy(settings.load())
    chosen["training"]["epoch"] = chosen["training"].pop("epochs")

    with pytest.raises(ValueError, match=r"\[training\] epoch. Did you mean \[training\] epochs"):
        settings.check(chosen)
