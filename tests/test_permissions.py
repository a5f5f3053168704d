"""IAM permissions: a sample of the statements that `make prove` removes one by one, and what no role may do."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from benchmarks import permissions
from benchmarks.permissions import BUCKET, all_statements, install, roles_of, take_away, try_all
from benchmarks.small_project import Walk
from build import ROOT
from build.policies import Template
from rehearsal.aws import trust

TOPIC = "Resources:\n  Topic: {Type: 'AWS::SNS::Topic'}\n"


@pytest.fixture(scope="module")
def template(account) -> tuple[str, str, str]:
    """Return the launch role, and bucket and key of the complete template."""
    launch, key = install(account)
    return launch, BUCKET, key


@pytest.fixture(scope="module")
def project(account, template) -> Walk:
    """Return a small project from the complete template: deployed, pushed to again, and sent a refused definition."""
    walk = Walk(account, "Whole")
    walk.create(*template)
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


COMPARED = ("AWS::CodeBuild::Project", "AWS::Lambda::Function", "AWS::IAM::Role")


def made(account, project: Walk) -> dict[str, Any]:
    """Return what a project's stack created: resources, environments of builds and functions, and roles' policies.

    Ids and names are replaced, so that two projects can be compared.
    """
    cloudformation, stack_name = account.client("cloudformation"), f"SP-{project.id}"
    resources = cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    names = {
        kind: [each["PhysicalResourceId"] for each in resources if each["ResourceType"] == kind] for kind in COMPARED
    }
    iam, functions = account.client("iam"), account.client("lambda")
    builds = account.client("codebuild").batch_get_projects(names=names["AWS::CodeBuild::Project"])["projects"]
    result = {
        "resources": sorted(each["LogicalResourceId"] for each in resources),
        "builds": {each["name"]: each["environment"] for each in builds},
        "functions": {
            name: functions.get_function_configuration(FunctionName=name)["Environment"]
            for name in names["AWS::Lambda::Function"]
        },
        "roles": {
            f"{role}/{policy}": iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            for role in names["AWS::IAM::Role"]
            for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]
        },
    }
    stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]["StackId"]
    return json.loads(
        json.dumps(result).replace(stack, "STACK").replace(project.id, "ID").replace(project.name, "NAME")
    )


def test_a_project_with_an_empty_string_for_every_optional_parameter_is_one_with_defaults(account, template, project):
    """Studio may send an empty string for a parameter that is left empty."""
    parameters = Template((ROOT / "templates/project.yaml").read_text()).body["Parameters"]
    optional = [name for name, each in parameters.items() if "Default" in each]
    empty = Walk(account, "Nothing")
    empty.create(*template, **dict.fromkeys(optional, ""))

    assert len(optional) == 11
    assert len(made(account, project)["roles"]) > 20
    assert made(account, empty) == made(account, project)


@pytest.mark.parametrize(
    "name, stuck",
    [
        ("StartBuildRole/StartBuilds", "the build of a push"),
        ("PipelineRole/RegisterIntoGroup", "the run is Failed"),
        ("PipelineRole/JoinSubnets", "the run is Failed"),
        ("PipelineRole/LetDisksUseProjectKey", "the run is Failed"),
        ("LaunchRole/ManageQueues", "creating the project: CreateFailed"),
        ("LaunchRole/ReadBills", "creating the project: CreateFailed"),
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


def trust_statements() -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield (role, trusted services, condition keys) for each statement of a role's trust policy."""
    for name in ("portfolio.yaml", "project.yaml"):
        resources = Template((ROOT / "templates" / name).read_text()).body["Resources"]
        for role in (role for role in resources if resources[role]["Type"] == "AWS::IAM::Role"):
            for statement in resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
                services = statement["Principal"]["Service"]
                keys = {key for asked in statement.get("Condition", {}).values() for key in asked}
                yield role, set(listed(services)), keys


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_every_trust_asks_for_a_key_that_its_services_send_or_for_none_where_they_send_none():
    trusts = list(trust_statements())
    sent = [set.intersection(*(set(trust.SERVICES[name].keys) for name in services)) for _, services, _ in trusts]

    assert len(trusts) == 10
    assert {service for _, services, _ in trusts for service in services} == trust.SERVICES.keys()
    assert [role for (role, _, asked), keys in zip(trusts, sent, strict=True) if asked - keys] == []
    assert [role for (role, _, asked), keys in zip(trusts, sent, strict=True) if keys and not asked] == []


def test_every_trust_without_a_condition_says_why():
    for name in ("portfolio.yaml", "project.yaml"):
        text = (ROOT / "templates" / name).read_text()
        trusts = re.findall(r"AssumeRolePolicyDocument:\n(.*?)      Policies:", text, re.DOTALL)

        assert trusts
        assert [each for each in trusts if "Condition:" not in each and "# " not in each] == []


@pytest.mark.parametrize(
    "service, condition, refused",
    [
        ("cloudformation.amazonaws.com", {"StringEquals": {"aws:SourceAccount": "111122223333"}}, True),
        ("cloudformation.amazonaws.com", {"StringEqualsIfExists": {"aws:SourceAccount": "111122223333"}}, False),
        ("cloudformation.amazonaws.com", {}, False),
        ("lambda.amazonaws.com", {}, True),
    ],
)
def test_a_service_is_refused_by_a_trust_that_asks_for_a_key_that_it_does_not_send(
    account, service, condition, refused
):
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
        "Condition": condition,
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    name = f"trusts-{uuid.uuid4().hex[:8]}"
    role = account.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]

    try:
        account.client("cloudformation").create_stack(StackName=name, TemplateBody=TOPIC, RoleARN=role)
        denied = ""
    except ClientError as error:
        denied = error.response["Error"]["Message"]

    assert denied == (f"cloudformation.amazonaws.com is not authorized to assume role {role}" if refused else "")


def test_what_is_denied_is_denied_with_a_word(account, project):
    clients = permissions.As(account, f"arn:aws:iam::111122223333:role/sagemaker-{project.id}-build")

    with pytest.raises(ClientError, match="not authorized to perform: s3:GetObject"):
        clients("s3").get_object(Bucket=f"sagemaker-{project.id}-111122223333", Key="pipeline/pipeline.json")
