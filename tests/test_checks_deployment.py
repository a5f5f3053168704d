"""The build checks the parameter files of the stages, and reports each mistake with its file and key."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from build import ROOT
from spotkit.checks.deployment import check, endpoint_types


@pytest.fixture
def deploy(tmp_path) -> Path:
    return Path(shutil.copytree(ROOT / "seed_code/common/deploy", tmp_path / "deploy"))


def test_our_own_have_nothing_wrong(deploy):
    assert check(deploy) == check(deploy, in_vpc=True) == []
    assert len(endpoint_types()) > 100


@pytest.mark.parametrize(
    "text, problem",
    [
        ("{", "it is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)."),
        ("", "it is not JSON: Expecting value: line 1 column 1 (char 0)."),
        ("[]", '[] is not an object. Write {"InstanceType": "ml.m5.large"}.'),
        ("5", '5 is not an object. Write {"InstanceType": "ml.m5.large"}.'),
        ("[" * 100_000, "it is nested too deep. Write one object of names and texts."),
        ('{"InstanceCount": "1", "InstanceCount": "2"}', "an object has InstanceCount twice. Keep one."),
        ('{"InstanceTyp": "ml.m5.large"}', "InstanceTyp: endpoint.yaml has no such parameter. Is it InstanceType?"),
        ('{"Stage": "production"}', "Stage: a deployment fills it in. Remove it."),
        ('{"InstanceCount": 2}', 'InstanceCount: 2 is not text. CloudFormation takes text only: write "2".'),
        ('{"InstanceCount": "two"}', "InstanceCount: 'two' is not a number."),
        ('{"InstanceCount": "0"}', "InstanceCount: 0 is below 1."),
        (
            '{"InstanceType": "ml.m5.lagre"}',
            "InstanceType: 'ml.m5.lagre' is no instance type of an endpoint. Is it ml.m5.large?",
        ),
    ],
)
def test_a_mistake_in_a_stages_file_is_named_with_file_and_key(deploy, text, problem):
    (deploy / "staging.json").write_text(text)

    assert check(deploy) == [f"{deploy}/staging.json: {problem}"]


def test_a_file_that_is_no_text_is_named(deploy):
    (deploy / "production.json").write_bytes(b"\xff{}")

    assert check(deploy) == [f"{deploy}/production.json: it is not UTF-8: invalid start byte at 0."]


def test_a_stage_without_a_file_and_a_file_without_a_stage_are_named(deploy):
    (deploy / "production.json").rename(deploy / "prod.json")

    assert check(deploy) == [
        f"{deploy}/prod.json: there is no stage prod; there is staging, production. Remove the file.",
        f"{deploy}/production.json: the file is missing. Write {{}} where every default is right.",
    ]


OWN = """
Parameters:
  ProjectName: {Type: String}
  ProjectId: {Type: String}
  Stage: {Type: String}
  EndpointRoleArn: {Type: String}
  Machine: {Type: String}
  Color: {Type: String, AllowedValues: [blue, green], Default: blue}
  Team: {Type: String, AllowedPattern: '[a-z]+', ConstraintDescription: Lower case., Default: a}
Resources:
  Config:
    Type: AWS::SageMaker::EndpointConfig
    Properties: {ProductionVariants: [{VariantName: A, ModelName: m, InstanceType: !Ref Machine}]}
"""


def test_a_template_of_the_teams_own_decides_which_parameters_there_are(deploy):
    (deploy / "endpoint.yaml").write_text(OWN)
    (deploy / "staging.json").write_text('{"Machine": "m5.large", "Color": "red", "Team": "A"}')
    (deploy / "production.json").write_text("{}")

    assert check(deploy) == [
        f"{deploy}/endpoint.yaml: it has no parameter ModelPackageArn, which a deployment fills in. Declare it.",
        f"{deploy}/production.json: Machine is missing, and endpoint.yaml gives it no default. Set it.",
        f"{deploy}/staging.json: Machine: 'm5.large' is no instance type of an endpoint. Is it ml.m5.large?",
        f"{deploy}/staging.json: Color: 'red' is not one of blue, green.",
        f"{deploy}/staging.json: Team: 'A' does not match [a-z]+. Lower case.",
    ]
    assert [problem for problem in check(deploy, in_vpc=True) if "SubnetIds" in problem] != []


def test_the_build_stops_at_such_a_file(deploy):
    (deploy / "staging.json").write_text("{")

    done = subprocess.run(
        [sys.executable, "-m", "spotkit.checks.deployment", str(deploy)],
        cwd=ROOT / "seed_code/common",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {deploy}/staging.json: it is not JSON: ")
    assert "python -m spotkit.checks.deployment deploy" in (ROOT / "seed_code/common/Makefile").read_text()
