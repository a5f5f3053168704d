"""The bundle's CI: each service runs the README's test command, with pinned versions, read-only and without secrets."""

import re

import pytest
import yaml
from conftest import ROOT
from test_readme import README

from benchmarks.commands import readme_commands

WORKFLOW = ROOT / ".github/workflows/test.yml"
BUILDSPEC = ROOT / "build/buildspec.yml"


@pytest.fixture
def job() -> dict:
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    return job


def test_every_place_runs_the_readmes_test_command(job):
    spec = yaml.safe_load(BUILDSPEC.read_text())

    assert {"make lint", "make test"} <= set(readme_commands(README))
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make lint test"]
    assert [command for phase in spec["phases"].values() for command in phase.get("commands", [])] == ["make lint test"]
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make lint test"


def test_every_action_is_a_commit_whose_version_stands_beside_it():
    used = re.findall(r"(?m)^ +- uses: (.*)$", WORKFLOW.read_text())

    assert len(used) == 2
    assert [use for use in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


def test_both_run_the_python_of_the_functions(job):
    (python,) = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    runtimes = re.findall(r"Runtime: python(.*)", (ROOT / "templates/project.yaml").read_text())

    assert job["runs-on"] == "ubuntu-24.04"
    assert {python, str(yaml.safe_load(BUILDSPEC.read_text())["phases"]["install"]["runtime-versions"]["python"])} == {
        *runtimes
    }


def test_it_may_read_the_code_and_knows_no_secret(job):
    assert yaml.safe_load(WORKFLOW.read_text())["permissions"] == {"contents": "read"}
    assert "permissions" not in job
    assert "secrets." not in WORKFLOW.read_text()
    assert "env" not in yaml.safe_load(BUILDSPEC.read_text())
    assert job["steps"][0]["with"] == {"persist-credentials": False}
