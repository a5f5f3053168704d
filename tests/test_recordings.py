"""The emulator responds as the real AWS did in the recordings, except where ACCEPTED gives a reason."""

import importlib
import pkgutil
from fnmatch import fnmatchcase

import pytest
import recordings
from recordings import FOLDER, REPLAYS, Comparison, recorded

MODULES = {
    name: importlib.import_module(f"recordings.{name}") for _, name, _ in pkgutil.iter_modules(recordings.__path__)
}
ACCEPTED = {key: paths for module in MODULES.values() for key, paths in module.ACCEPTED.items()}
NOT_REPLAYED = {key: reason for module in MODULES.values() for key, reason in module.NOT_REPLAYED.items()}
SERVICES = sorted(file.stem for file in FOLDER.glob("*.json"))

pytestmark = pytest.mark.skipif(
    not SERVICES, reason="../shared/recordings, which is no part of this repository, is absent"
)


def keys() -> list[str]:
    return [key for service in SERVICES for key in recorded(service)]


def test_every_recording_is_replayed_or_has_a_reason():
    assert set(keys()) == REPLAYS.keys() | NOT_REPLAYED.keys()


def test_nothing_is_accepted_of_a_recording_that_is_not_replayed():
    assert ACCEPTED.keys() <= REPLAYS.keys()


@pytest.mark.parametrize("key", sorted(REPLAYS), ids=lambda key: key.replace(":", "."))
def test_the_emulated_aws_responds_as_recorded(key, emulator):
    expected = next(recorded(service)[key] for service in SERVICES if key in recorded(service))

    differences = {
        path: f"{path}: recorded {there!r}, emulated {here!r}"
        for path, there, here in Comparison().differences(expected, REPLAYS[key](emulator))
    }

    reasons = ACCEPTED.get(key, {})
    unexplained = [difference for path, difference in differences.items() if not explained(path, reasons)]
    gone = [pattern for pattern in reasons if not any(fnmatchcase(path, pattern) for path in differences)]
    assert not unexplained, "\n".join(unexplained)
    assert not gone, "no longer different: remove them from ACCEPTED"


def explained(path: str, reasons: dict[str, str]) -> bool:
    """Return whether a reason covers the difference at `path`; an asterisk in a pattern matches any characters."""
    return any(fnmatchcase(path, pattern) for pattern in reasons)


@pytest.mark.parametrize(
    ("expected", "actual", "paths"),
    [
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({}, {"a": 1}, ["a"]),
        ([1], [1, 2], [""]),
        ({"id": "<uuid:1>", "same": "<uuid:1>"}, {"id": "x", "same": "x"}, []),
        ({"id": "<uuid:1>", "same": "<uuid:1>"}, {"id": "x", "same": "y"}, ["same"]),
        ({"at": "date"}, {"at": "2026-01-01"}, []),
        ({"at": "date"}, {}, ["at"]),
        (
            {"arn": "arn:<partition>:sns:<region>:111111111111:t"},
            {"arn": "arn:aws:sns:us-east-1:111122223333:u"},
            ["arn"],
        ),
        ({"Body": {"a": 1}}, {"Body": '{"a": 2}'}, ["Body.a"]),
        ({"on": True}, {"on": 1}, ["on"]),
    ],
)
def test_a_comparison_finds_what_differs(expected, actual, paths):
    assert [path for path, _, _ in Comparison().differences(expected, actual)] == paths
