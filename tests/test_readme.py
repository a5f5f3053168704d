"""Every command in a README is run by a test, and its stated output is right."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, make
from test_rehearsal import REAL, VPC

from benchmarks.commands import KINDS, long_commands, readme_commands
from build import VARIANTS
from build.assemble import assemble, git, write
from rehearsal import server

README = (ROOT / "README.md").read_text()
# Commands that other tests run verbatim: {command: test}. HERE has those that run in this file.
ELSEWHERE = {
    "make test": "this run",
    "make rehearse": "test_rehearsal.py, told",
    "make rehearse TASK=nlp KEEP=1": "test_kept.py, kept",
    "make rehearse-down": "test_kept.py, kept",
}
# Too slow for a test: `make prove` runs them verbatim, and the named test runs a sample of the same code.
LONG = {
    "make benchmark": "test_benchmarks.py, one at a time and quick; test_rehearsal.py, the figures of a rehearsal",
    **{
        f"make quality ONLY={name}": "test_quality.py, on the sample"
        for name in ("reviews", "birds", "mtsamples-minilm")
    },
    "make quality": "test_quality.py, on the sample",
    "make prove": "test_prove.py, test_interruptions.py, test_bad_data.py, test_permissions.py, test_projects.py: samples",
    f'make rehearse TASK=nlp PARAMETERS="{VPC} NetworkIsolation=true"': "test_rehearsal.py, with a tuning",
    "make rehearse TASK=nlp INTERRUPT=1": "test_rehearsal.py, test_an_interrupted_training_...",
} | {
    f"make rehearse TASK={variant} DATA=../shared/data/{data} SETTINGS=docs/settings/{settings}": "test_rehearsal.py, REAL (on a share of the data)"
    for data, (variant, settings) in REAL.items()
}
IN_AN_ACCOUNT = ("make install DRY_RUN=1", "make install", "make upgrade")
HERE = {
    "make lint": "lint: clean",
    "make audit": "licences: 0 refused of ",
    "make assemble VARIANT=nlp INTO=folder": "77 files in",
    "make definitions": "pipeline_json/cv.json\npipeline_json/nlp.json",
    "make package": "dist/templates/portfolio-",
    "make publish": "s3://sagemaker-bundle-111122223333/templates/portfolio-",
}


def test_every_command_is_run_by_a_test_or_a_proof():
    assert set(readme_commands(README)) == {*ELSEWHERE, *HERE, *LONG, *IN_AN_ACCOUNT}


def test_the_proofs_run_every_command_that_no_test_runs_as_it_is_written():
    proven = {command for kind in KINDS for command in long_commands(kind)}

    assert proven == LONG.keys() - {"make prove"}


def test_the_bundle_is_installed_upgraded_and_removed_by_the_commands_of_the_readme():
    emulator = server.start()
    try:
        sagemaker = emulator.client("sagemaker")
        trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = emulator.client("iam").create_role(RoleName="Studio", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        sagemaker.create_domain(
            DomainName="studio", AuthMode="IAM", SubnetIds=["subnet-1"], VpcId="vpc-1",
            DefaultUserSettings={"ExecutionRole": role},
        )  # fmt: skip
        sagemaker.enable_sagemaker_servicecatalog_portfolio()
        done = [make(*command.split()[1:], **emulator.environment()) for command in (*IN_AN_ACCOUNT, "make uninstall")]
    finally:
        emulator.end()

    assert [one.returncode for one in done] == [0, 0, 0, 0], [one.stderr for one in done]
    assert "would create stack sagemaker-project-templates" in done[0].stdout
    assert "create stack sagemaker-project-templates: portfolio, products, launch role" in done[1].stdout
    assert "Nothing to change." in done[2].stdout
    assert "empty and delete bucket sagemaker-templates-111122223333-us-east-1" in done[3].stdout


def test_the_first_command_stands_in_the_first_thirty_lines():
    assert "make rehearse" in README.splitlines()[:30]


@pytest.mark.parametrize("command", HERE)
def test_the_command_does_what_the_readme_says(command, tmp_path):
    done = make(*command.replace("INTO=folder", f"INTO={tmp_path / 'folder'}").split()[1:])

    assert done.returncode == 0, done.stderr
    assert HERE[command] in done.stdout
    assert git("status", "--porcelain", "pipeline_json") == ""


def test_make_alone_lists_every_target():
    targets = re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text())

    listed = re.findall(r"(?m)^  make ([a-z-]+) +\S", make().stdout)
    assert listed == targets


@pytest.mark.parametrize("target", ["assemble", "assemble VARIANT=cv"])
def test_a_missing_variable_says_how_to_set_it(target):
    done = make(*target.split())

    assert done.returncode == 2
    assert "make assemble VARIANT=cv INTO=folder" in done.stderr


def test_the_settings_that_the_readme_shows_are_those_of_the_file():
    shown = re.search(r"```toml\n(.*?)```", README, re.DOTALL).group(1)

    assert tomllib.loads(shown) == tomllib.loads((ROOT / "docs/settings/reviews.toml").read_text())


def test_every_file_that_the_docs_name_is_there():
    for page in ("README.md", "docs/architecture.md"):
        text = (ROOT / page).read_text()
        links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
        assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_landed_readmes_commands_run_as_they_stand(variant, tmp_path):
    write(assemble(variant), tmp_path)
    readme = (tmp_path / "README.md").read_text()
    block = re.search(r"## Run it here first\n```\n(.*?)```", readme, re.DOTALL).group(1).splitlines()
    bin_folder = Path(sys.executable).parent

    assert block[0].startswith("uv venv && uv pip install")  # requirements/setup.sh has done this here
    for command in block[1:]:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False,
            env={"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    evaluation = json.loads((tmp_path / "work/evaluation/evaluation.json").read_text())
    settings = tomllib.loads((tmp_path / "settings.toml").read_text())
    assert evaluation["gate"]["value"] >= settings["gate"]["threshold"]


@pytest.mark.parametrize("page", ["docs/changing.md", "docs/architecture.md"])
def test_the_files_that_a_page_names_are_there(page):
    named = set(re.findall(r"`([\w./-]+/[\w./-]+\.(?:py|yaml|toml|md|json))`", (ROOT / page).read_text()))
    folders = [ROOT, *(ROOT / "seed_code" / name for name in ("common", "cv", "nlp"))]

    assert len(named) > 5
    assert {name for name in named if not any((folder / name).exists() for folder in folders)} == set()
