"""The launch role has the permissions that CloudFormation's schemas list for a project's resources, and no more."""

import fnmatch
import json
from pathlib import Path
from typing import Any

import cfnlint
import pytest
import yaml

from build import ROOT
from build.template import Loader, load

SCHEMAS = Path(cfnlint.__file__).parent / "data/schemas/resources"
# Permissions of handlers that our resources never need, and why. A pattern that matches nothing fails a test.
NEVER_ASKED = {
    "codecommit:UpdateRepository*": "a project's name never changes, and its repository has no key",
    "ec2:*": "functions have no VPC",
    "elasticfilesystem:*": "functions mount nothing",
    "firehose:*": "log groups deliver to nobody",
    "iam:AttachRolePolicy": "roles have policies of their own, and no managed ones",
    "iam:DetachRolePolicy": "roles have policies of their own, and no managed ones",
    "kms:*": "functions have no key; S3 uses the bucket's key for whoever writes",
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
    "logs:*KmsKey": "log groups have no key",
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
# Properties that would need such a permission. No resource of the project may set one.
UNUSED = {
    "codecommit:UpdateRepository*": ["AWS::CodeCommit::Repository.KmsKeyId"],
    "ec2:*": ["AWS::Lambda::Function.VpcConfig"],
    "elasticfilesystem:*": ["AWS::Lambda::Function.FileSystemConfigs"],
    "iam:AttachRolePolicy": ["AWS::IAM::Role.ManagedPolicyArns"],
    "iam:DetachRolePolicy": ["AWS::IAM::Role.ManagedPolicyArns"],
    "kms:*": ["AWS::Lambda::Function.KmsKeyArn"],
    "lambda:*Capacity*": ["AWS::Lambda::Function.CapacityProviderConfig"],
    "lambda:*CodeSigning*": ["AWS::Lambda::Function.CodeSigningConfigArn"],
    "lambda:*Concurrency": ["AWS::Lambda::Function.ReservedConcurrentExecutions"],
    "lambda:*RecursionConfig": ["AWS::Lambda::Function.RecursiveLoop"],
    "lambda:*ScalingConfig": ["AWS::Lambda::Function.FunctionScalingConfig"],
    "lambda:AssociateRuntimeAlias": ["AWS::Lambda::Function.RuntimeManagementConfig"],
    "lambda:GetLayerVersion": ["AWS::Lambda::Function.Layers"],
    "lambda:PutRuntimeManagementConfig": ["AWS::Lambda::Function.RuntimeManagementConfig"],
    "logs:*DataProtectionPolicy": ["AWS::Logs::LogGroup.DataProtectionPolicy"],
    "logs:*DeletionProtection": ["AWS::Logs::LogGroup.DeletionProtectionEnabled"],
    "logs:*IndexPolicy": ["AWS::Logs::LogGroup.FieldIndexPolicies"],
    "logs:*KmsKey": ["AWS::Logs::LogGroup.KmsKeyId"],
    "logs:*ResourcePolicy": ["AWS::Logs::LogGroup.ResourcePolicyDocument"],
    "logs:PutBearerTokenAuthentication": ["AWS::Logs::LogGroup.BearerTokenAuthenticationEnabled"],
    "s3:*MetadataTableConfiguration": ["AWS::S3::Bucket.MetadataTableConfiguration"],
    "s3:Put*": [
        f"AWS::S3::Bucket.{name}"
        for name in (
            "AccelerateConfiguration", "AnalyticsConfigurations", "CorsConfiguration", "IntelligentTieringConfigurations",
            "InventoryConfigurations", "LoggingConfiguration", "MetricsConfigurations", "ObjectLockConfiguration",
            "ReplicationConfiguration", "WebsiteConfiguration",
        )
    ],
    "s3:UpdateBucketMetadata*": ["AWS::S3::Bucket.MetadataConfiguration"],
    "sns:PutDataProtectionPolicy": ["AWS::SNS::Topic.DataProtectionPolicy"],
}  # fmt: skip
# Permissions that no handler lists, and what needs them.
STACKS = "Service Catalog and SageMaker make stacks with the role (adminguide/constraints-launch.html)"
NO_HANDLERS = "CodeBuild's projects have no handlers: its own actions of these names"
BESIDES = {
    **dict.fromkeys(
        (
            "cloudformation:CreateStack", "cloudformation:DeleteStack", "cloudformation:DescribeStackEvents",
            "cloudformation:DescribeStacks", "cloudformation:GetTemplateSummary", "cloudformation:SetStackPolicy",
            "cloudformation:TagResource", "cloudformation:UntagResource", "cloudformation:UpdateStack",
            "cloudformation:ValidateTemplate",
        ),
        STACKS,
    ),
    **dict.fromkeys(
        ("codebuild:BatchGetProjects", "codebuild:CreateProject", "codebuild:DeleteProject", "codebuild:UpdateProject"),
        NO_HANDLERS,
    ),
    "iam:ListRoleTags": "how IAM's handler reads the tags that iam:GetRole cuts off",
    "lambda:GetFunctionConfiguration": "how Lambda's handler waits for a function",
    "lambda:InvokeFunction": "the stack calls its custom resource's function",
    "lambda:ListTags": "how Lambda's handler reads tags",
}  # fmt: skip


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def matches(action: str, patterns: Any) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)


def schemas_of(resources: dict[str, Any]) -> dict[str, Any]:
    """Return the provider schemas of a template's resource types: {type name: schema}."""
    types = {resource["Type"] for resource in resources.values() if resource["Type"].startswith("AWS::")}
    schemas = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")]
    found = {schema["typeName"]: schema for schema in schemas if schema.get("typeName") in types}
    assert found.keys() == types
    return found


def asked_by(resources: dict[str, Any]) -> set[str]:
    """Return every permission that the handlers of a template's resource types list.

    The "list" handler is skipped: no operation on a stack calls it.
    """
    return {
        permission
        for schema in schemas_of(resources).values()
        for name in ("create", "read", "update", "delete")
        for permission in schema.get("handlers", {}).get(name, {}).get("permissions", [])
    }


def granted_to(role: dict[str, Any]) -> set[str]:
    policies = [policy["PolicyDocument"] for policy in role["Properties"]["Policies"]]
    return {action for policy in policies for each in policy["Statement"] for action in listed(each["Action"])}


@pytest.fixture(scope="module")
def asked() -> set[str]:
    return asked_by(load("project.yaml")["Resources"])


@pytest.fixture(scope="module")
def granted() -> set[str]:
    return granted_to(load("portfolio.yaml")["Resources"]["LaunchRole"])


def test_the_launch_role_may_do_what_making_changing_and_deleting_a_project_asks(asked, granted):
    missing = {action for action in asked if not matches(action, granted)}

    assert {action for action in missing if not matches(action, NEVER_ASKED)} == set()
    assert {pattern for pattern in NEVER_ASKED if not any(matches(action, [pattern]) for action in missing)} == set()


def test_the_launch_role_may_do_nothing_else(asked, granted):
    known = {action.lower() for action in asked}

    plain = {action for action in granted if "*" not in action}
    assert {action for action in plain if action.lower() not in known} == BESIDES.keys()
    assert {action for action in granted if "*" in action} == {"s3:GetBucket*"}


def test_no_resource_has_a_property_for_which_the_launch_role_lacks_a_permission():
    resources = load("project.yaml")["Resources"]
    schemas = schemas_of(resources)
    used = {f"{each['Type']}.{name}" for each in resources.values() for name in each.get("Properties", {})}
    unused = [name for names in UNUSED.values() for name in names]

    assert UNUSED.keys() - NEVER_ASKED.keys() == set()
    assert [name for name in unused if name.split(".")[1] not in schemas[name.split(".")[0]]["properties"]] == []
    assert used & set(unused) == set()


def test_types_without_handlers_are_those_whose_permissions_are_named_here():
    schemas = schemas_of(load("project.yaml")["Resources"])

    assert {name for name, schema in schemas.items() if not schema.get("handlers")} == {"AWS::CodeBuild::Project"}


def test_the_stack_role_of_endpoints_may_do_what_their_handlers_ask():
    """Only kms:DescribeKey is missing, since endpoints have no key of their own."""
    template = yaml.load((ROOT / "seed_code/common/spotkit/deploy/endpoint.yaml").read_text(), Loader)  # noqa: S506
    role = load("project.yaml")["Resources"]["EndpointStackRole"]

    assert asked_by(template["Resources"]) - granted_to(role) == {"kms:DescribeKey"}
    assert granted_to(role) - asked_by(template["Resources"]) == {"sagemaker:DescribeModelPackage"}
