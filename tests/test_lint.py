"""Every tool of `make lint` finds a mistake of its kind, and every rule that it is told to skip does fire."""

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from build import lint, policies, validation
from build.assemble import assemble, write

BUCKET = """
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      {property}
"""
ROLE = """
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {trust}
      Policies:
        - PolicyName: s3
          PolicyDocument:
            Version: '2012-10-17'
            Statement:
              - {statement}
"""
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


@pytest.fixture
def planted(tmp_path):
    def plant(text: str, name: str = "template.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return plant


def test_ruff_finds_code_that_is_not_safe(planted):
    found = lint.code(planted("import subprocess\n\nsubprocess.run('ls', shell=True)\n", "planted.py").parent)

    assert "S602" in found


def test_ruff_finds_it_in_a_landed_repository(tmp_path):
    write(assemble("nlp"), tmp_path / "landed")
    (tmp_path / "landed/src/planted.py").write_text('import pickle\n\npickle.loads(b"")\n')

    assert "S301" in lint.code(tmp_path / "landed")


def test_cfn_lint_finds_a_property_that_does_not_exist(planted):
    assert "E3002" in lint.schemas(planted(BUCKET.format(property="BucketNam: mine")))


def test_the_validator_finds_a_property_that_does_not_exist(planted):
    assert "BucketNam" in lint.validation(planted(BUCKET.format(property="BucketNam: mine")))


def test_the_validator_finds_what_a_guard_rule_forbids(planted):
    assert "S3_BUCKET_VERSIONING_ENABLED" in lint.validation(planted(BUCKET.format(property="BucketName: mine")))


def test_the_validator_finds_a_template_that_is_none(planted):
    assert "ERROR" in lint.validation(planted("Resources: ["))


def test_checkov_finds_a_resource_that_is_not_secure(planted):
    found = lint.checkov(planted(BUCKET.format(property="AccessControl: PublicRead")))

    assert "CKV_AWS_20" in found


@pytest.mark.parametrize(
    ("statement", "issue"),
    [
        ("{Effect: Allow, Action: s3:GetObjekt, Resource: '*'}", "UNKNOWN_ACTION"),
        ("{Effect: Allow, Action: s3:GetObject, Resource: 'arn:aws:s3:::mine'}", "RESOURCE_MISMATCH"),
        ("{Effect: Allow, Action: s3:GetObject, Resource: '*'}", "RESOURCE_STAR"),
        ("!If [Some, {Effect: Allow, Action: s3:GetObjekt, Resource: !Sub '*'}, !Ref AWS::NoValue]", "UNKNOWN_ACTION"),
    ],
)
def test_parliament_finds_a_statement_that_is_wrong(planted, statement, issue):
    assert f"Role.s3: {issue}" in lint.policies(planted(ROLE.format(trust=TRUST, statement=statement)))


def test_parliament_finds_who_may_assume_a_role_wrongly(planted):
    trust = TRUST.replace("sts:AssumeRole", "sts:AssumeRol")
    statement = "{Effect: Allow, Action: s3:ListBucket, Resource: 'arn:aws:s3:::mine'}"

    assert "Role.trust: UNKNOWN_ACTION" in lint.policies(planted(ROLE.format(trust=trust, statement=statement)))


@pytest.mark.parametrize(
    ("name", "parts", "kind"),  # in parts, so that no scanner finds them in this file
    [
        ("key", ("AKIA", "IOSFODNN7", "QZWXECR"), "AWS Access Key"),
        ("password", ("Tr0ub4dor", "and3"), "Secret Keyword"),
    ],
)
def test_a_secret_is_found(planted, name, parts, kind):
    assert kind in lint.secrets(planted(f'{name} = "{"".join(parts)}"\n', "settings.py"))


def test_no_package_of_an_environment_overwrites_a_file_of_another():
    """Which of two files of the same path stays would depend on the order of installation."""
    environments = [site for below in ("", "*/") for site in ROOT.glob(f".venv/{below}lib/python3*/site-packages")]
    overwritten = {}
    for environment in environments:
        written: dict[str, tuple[str, str]] = {}
        for record in sorted(environment.glob("*.dist-info/RECORD")):
            with record.open(newline="") as rows:
                for path, digest, _ in csv.reader(rows):
                    package, before = written.setdefault(path, (record.parent.name, digest))
                    if before != digest and not path.startswith("../"):  # ../: scripts in bin/
                        overwritten[path] = (package, record.parent.name)

    assert len(environments) == 5
    # The SDK's packages share the package `sagemaker`; one of them adds hints for imports of version 2.
    assert set(overwritten) <= {"sagemaker/__init__.py"}, overwritten


def test_a_tool_that_fails_without_a_word_is_not_clean():
    assert lint.run_tool(Path("/bin/false")) == "false ended with 1."


def test_every_policy_is_read_and_nothing_in_it_is_left_to_resolve():
    read = [each for name in lint.TEMPLATES for each in policies.Template(name.read_text()).policies()]

    written = sum(len(re.findall(r"(?m)^ +(?:Assume\w+)?PolicyDocument:", name.read_text())) for name in lint.TEMPLATES)
    assert len(read) == written > 0
    assert "Fn::" not in json.dumps(read)
    assert "${" not in json.dumps(read)


def test_a_name_that_is_not_there_is_no_value():
    with pytest.raises(ValueError, match="'Bukket.Arn' is neither a parameter nor a resource"):
        policies.Template("Resources: {}").resolve({"Fn::Sub": "${Bukket.Arn}/*"})


@pytest.fixture
def bare(tmp_path) -> list[Path]:
    """Return copies of the templates in which the linters do not find their settings in Metadata."""
    for template in lint.TEMPLATES:
        text = re.sub(r"(?m)^      (checkov|guard):$", r"      \1Unread:", template.read_text())
        (tmp_path / template.name).write_text(text)
    return sorted(tmp_path.glob("*.yaml"))


def told(pattern: str) -> set[str]:
    """Return the rules that the templates' Metadata names, by a pattern."""
    return {rule for template in lint.TEMPLATES for rule in re.findall(pattern, template.read_text())}


def test_what_parliament_is_told_to_pass_over_is_there(bare):
    script = (
        "import json, sys; from pathlib import Path; from build.policies import findings;"
        "print(json.dumps([found[:2] for name in sys.argv[1:] for found in findings(Path(name))]))"
    )
    found = json.loads(said_by(lint.LINT / "python", "-c", script, *bare))

    assert {tuple(each) for each in found} == policies.RIGHT.keys()


def test_what_the_validator_is_told_to_pass_over_is_there(bare):
    script = "import sys; from build.validation import findings; print(*findings(sys.argv[1:], []))"
    found = re.findall(r"yaml:\w+: (\w+)", said_by(lint.LINT / "python", "-c", script, *bare))

    assert set(found) == validation.NOT_OURS.keys() | told(r"- ([A-Z0-9]+(?:_[A-Z]+)+) #")


def test_what_checkov_is_told_to_pass_over_is_there(bare):
    options = ["--framework=cloudformation", "--skip-download", "--quiet", "--compact", "--soft-fail", "--file"]
    found = re.findall(r"Check: (CKV_\w+):", said_by(lint.LINT / "checkov", *options, *bare, cwd=bare[0].parent))

    everywhere = re.findall(r"- (CKV_\w+) #", (ROOT / ".checkov.yaml").read_text())
    assert set(found) == {*everywhere} | told(r"- id: (CKV_\w+)")


def said_by(*command: Path | str, cwd: Path = ROOT) -> str:
    """Return the output of a tool, which must succeed."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout
