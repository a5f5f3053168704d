"""The launch role: what CloudFormation's own schemas say that making, changing and deleting a project takes, no more."""

import fnmatch
import json
from pathlib import Path
from typing import Any

import cfnlint
import pytest

from build.template import load

SCHEMAS = Path(cfnlint.__file__).parent / "data/schemas/resources"
# Permissions of handlers that the templates' resources never come to, and why. A pattern that matches nothing is stale.
NEVER_ASKED = {
    "billing:GetBillingViewData": "budgets have no view of their own",
    "codecommit:UpdateRepository*": "a project's name never changes, and no key is given",
    "ec2:*": "functions have no VPC",
    "elasticfilesystem:*": "functions mount nothing",
    "firehose:*": "log groups deliver to nobody",
    "iam:AttachRolePolicy": "roles have policies of their own, and no managed ones",
    "iam:DetachRolePolicy": "roles have policies of their own, and no managed ones",
    "kms:*": "no key is given",
    "lambda:*Capacity*": "functions run on demand",
    "lambda:*CodeSigning*": "code is named by its hash; none is signed",
    "lambda:*Concurrency": "no concurrency is reserved",
    "lambda:*RecursionConfig": "the default stays",
    "lambda:*ScalingConfig": "the default stays",
    "lambda:AssociateRuntimeAlias": "runtimes update themselves",
    "lambda:GetLayerVersion": "functions have no layers",
    "lambda:PublishVersion": "functions are not versioned",
    "lambda:PutRuntimeManagementConfig": "runtimes update themselves",
    "logs:*DataProtectionPolicy": "log groups have a retention and nothing else",
    "logs:*DeletionProtection": "log groups have a retention and nothing else",
    "logs:*IndexPolicy": "log groups have a retention and nothing else",
    "logs:*KmsKey": "no key is given",
    "logs:*LogDelivery": "log groups deliver to nobody",
    "logs:*ResourcePolicy": "log groups have a retention and nothing else",
    "logs:PutBearerTokenAuthentication": "log groups have a retention and nothing else",
    "s3:*MetadataTableConfiguration": "buckets have no such configuration",
    "s3:DeleteBucket?*": "CloudFormation deletes single configurations only where a template drops them",
    "s3:DeleteObject": "the project's own function empties the bucket",
    "s3:Put*": "buckets have no such configuration",
    "s3:REST.PUT.OBJECT": "log groups deliver to nobody",
    "s3:UpdateBucketMetadata*": "buckets have no such configuration",
    "s3files:*": "functions mount nothing",
    "s3tables:*": "buckets have no such configuration",
    "sns:PutDataProtectionPolicy": "topics have none",
}
# What Service Catalog and CloudFormation ask besides the handlers, and what older services do without handlers.
BESIDES = {
    "cloudformation:CreateStack", "cloudformation:DeleteStack", "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStacks", "cloudformation:GetTemplateSummary", "cloudformation:SetStackPolicy",
    "cloudformation:TagResource", "cloudformation:UntagResource", "cloudformation:UpdateStack",
    "cloudformation:ValidateTemplate",
    "codebuild:BatchGetProjects", "codebuild:CreateProject", "codebuild:DeleteProject", "codebuild:UpdateProject",
    "iam:ListRoleTags", "lambda:GetFunctionConfiguration", "lambda:InvokeFunction", "lambda:ListTags",
}  # fmt: skip


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def matches(action: str, patterns: Any) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)


@pytest.fixture(scope="module")
def asked() -> set[str]:
    """Every permission that the handlers of the project's resource types ask for."""
    types = {resource["Type"] for resource in load("project.yaml")["Resources"].values()}
    types = {name for name in types if name.startswith("AWS::")}
    found: dict[str, dict] = {}
    for path in SCHEMAS.glob("*.json"):
        schema = json.loads(path.read_text())
        if schema.get("typeName") in types:
            found[schema["typeName"]] = schema.get("handlers", {})
    assert found.keys() == types
    return {
        permission
        for handlers in found.values()
        for name in ("create", "read", "update", "delete")
        for permission in handlers.get(name, {}).get("permissions", [])
    }


@pytest.fixture(scope="module")
def granted() -> set[str]:
    role = load("portfolio.yaml")["Resources"]["LaunchRole"]["Properties"]
    (policy,) = role["Policies"]
    return {action for statement in policy["PolicyDocument"]["Statement"] for action in listed(statement["Action"])}


def test_the_launch_role_may_do_what_making_changing_and_deleting_a_project_asks(asked, granted):
    missing = {action for action in asked if not matches(action, granted)}

    assert {action for action in missing if not matches(action, NEVER_ASKED)} == set()
    assert {pattern for pattern in NEVER_ASKED if not any(matches(action, [pattern]) for action in missing)} == set()


def test_the_launch_role_may_do_nothing_else(asked, granted):
    known = {action.lower() for action in asked}

    plain = {action for action in granted if "*" not in action}
    assert {action for action in plain if action.lower() not in known} == BESIDES
    assert {action for action in granted if "*" in action} == {"s3:GetBucket*"}
