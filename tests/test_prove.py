"""The page of proofs: one section each, in order, and a repeated proof replaces only its own. Also small samples."""

import random
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from benchmarks import commands, deliveries, mutations
from benchmarks.prove import PAGE, PROOFS, write


def test_a_proof_that_is_run_again_replaces_its_own_section(tmp_path):
    page = tmp_path / "proofs.md"
    write("deletes", "Deleted.", "| a |", 60, page)
    write("mutations", "Changed.", "| b |", 60, page)
    write("deletes", "Deleted again.", "| c |", 120, page)

    text = page.read_text()
    assert re.findall(r"(?m)^## (\w+)", text) == ["mutations", "deletes"]
    assert "| b |" in text
    assert "Deleted again." in text
    assert "| a |" not in text


def test_the_page_holds_proofs_that_there_are():
    named = re.findall(r"(?m)^## ([\w-]+)", PAGE.read_text())

    assert named
    assert named == [name for name in PROOFS if name in named]


def test_every_long_command_of_the_readme_is_in_a_proof():
    proven = [words for words, _ in PROOFS.values() if words[0] == "benchmarks.commands"]

    only = {words[-1] for words in proven if "--only" in words}
    kinds = {kind for words in proven if "--only" not in words for kind in words[1:]}
    assert only == set(commands.long_commands("quality"))
    assert kinds == {*commands.KINDS, "landed"} - {"quality"}


def test_a_proof_that_there_is_not_is_refused():
    command = [sys.executable, "-m", "benchmarks.prove", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "no proof is called nothing. Choose one of: interruptions, bad_files, inputs, mutations" in done.stderr


@pytest.fixture
def pushes(emulator, bucket, make_role, monkeypatch):
    topic = emulator.client("sns").create_topic(Name="storm")["TopicArn"]
    role = make_role("storm", "sagemaker", "sagemaker:*")
    for variable, value in deliveries.Pushes.environment(role, topic).items():
        monkeypatch.setenv(variable, value)
    return deliveries.Pushes(emulator, bucket, "storm")


def test_a_small_storm_of_events_runs_every_newest_definition_once(pushes):
    score = deliveries.storm(pushes, 60, random.Random(7), lambda score: None)

    assert score.wrong == []
    assert score.deliveries >= 60
    assert score.counts["deaths"] > 0
    assert score.counts["runs"] > 10


def test_a_small_storm_of_changes_is_counted():
    counts = mutations.storm(60)

    assert counts["missed"] == 0
    assert counts["caught"] > counts["harmless"] > 0
