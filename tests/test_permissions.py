"""Who may do what: a sample of the statements that `make prove` takes away one by one, and what no role may do."""

import re

import pytest
from botocore.exceptions import ClientError

from benchmarks import permissions
from benchmarks.permissions import BUCKET, all_statements, install, roles_of, take_away, try_all
from benchmarks.small_project import Walk
from build import ROOT


@pytest.fixture(scope="module")
def project(account) -> Walk:
    """A small project that came as far as its endpoint, from a whole template."""
    launch, key = install(account)
    walk = Walk(account, "Whole")
    walk.create(launch, BUCKET, key)
    walk.build()
    walk.deploy(walk.run())
    walk.push()
    walk.refused()
    return walk


def test_no_role_may_do_what_is_not_its_projects(account, project):
    roles = [arn for arn in roles_of(account) if project.id in arn or "LaunchRole" in arn]
    tried = try_all(account, roles)

    assert len({role for role, _, _ in tried}) == 10
    assert len(tried) == 10 * 14
    assert [(role, what) for role, what, denied in tried if not denied] == []


@pytest.mark.parametrize(
    "name, stuck",
    [
        ("StartBuildRole/StartBuilds", "the build of a push"),
        ("PipelineRole/RegisterIntoGroup", "the run is Failed"),
        ("PipelineRole/JoinSubnets", "the run is Failed"),
        ("PipelineRole/LetDisksUseProjectKey", "the run is Failed"),
        ("LaunchRole/ManageQueues", "creating the project: CreateFailed"),
        ("LaunchRole/CheckTemplates", "creating the project: CreateFailed"),
    ],
)
def test_a_statement_that_is_taken_away_is_missed(account, project, name, stuck):
    number = sorted(permissions.all_statements()).index(name)

    assert take_away(account, number, name) == stuck


def test_every_reason_for_a_statement_is_one_of_a_statement():
    names = {part for name in all_statements() for part in (name, name.split("/")[1])}

    assert len(all_statements()) > 70
    assert (permissions.REASONS.keys() | permissions.WITH.keys()) - names == set()
    assert set(permissions.REASONS.values()) <= permissions.KEPT.keys()


def test_every_trust_names_one_account_or_says_why_not():
    for name in ("portfolio.yaml", "project.yaml"):
        text = (ROOT / "templates" / name).read_text()
        trusts = re.findall(r"AssumeRolePolicyDocument:\n(.*?)      Policies:", text, re.DOTALL)
        assert trusts
        for trust in trusts:
            assert "aws:SourceAccount" in trust or "# " in trust, trust


def test_what_is_denied_is_denied_with_a_word(account, project):
    clients = permissions.As(account, f"arn:aws:iam::111122223333:role/sagemaker-{project.id}-build")

    with pytest.raises(ClientError, match="not authorized to perform: s3:GetObject"):
        clients("s3").get_object(Bucket=f"sagemaker-{project.id}-111122223333", Key="pipeline/pipeline.json")
