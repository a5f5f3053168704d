"""What CloudFormation does with a stack's role: for each resource the actions that its making and deleting take.

The essential ones of each type, as its resource schema lists them under handlers; those that only read are left out, and
tests/test_launch_role.py has all of them against the launch role.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ACCOUNT, REGION = "111122223333", "us-east-1"
Properties = dict[str, Any]


@dataclass(frozen=True)
class Needs:
    """The actions on a resource, and roles and objects that are handed over with it: (action, arn, service)."""

    arn: Callable[[Properties], str]
    create: tuple[str, ...]
    delete: tuple[str, ...]
    hands_over: Callable[[Properties], list[tuple[str, str, str]]] = lambda properties: []
    context: Callable[[Properties], dict[str, Any]] = lambda properties: {}

    def of(self, operation: str, properties: Properties) -> list[tuple[str, str, dict[str, Any]]]:
        """Action, ARN and context of everything that an operation asks for."""
        actions = self.delete if operation == "delete" else self.create
        asked = [(action, self.arn(properties), self.context(properties)) for action in actions]
        for action, arn, service in self.hands_over(properties) if operation != "delete" else []:
            asked.append((action, arn, {"iam:PassedToService": service} if service else {}))
        return asked


def arn(service: str, name: str, *, global_: bool = False) -> str:
    return f"arn:aws:{service}:{'' if global_ else REGION}:{ACCOUNT}:{name}"


def network_context(request: dict[str, Any]) -> dict[str, Any]:
    """What policies can ask of the network in a request for a job or a model.

    docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
    """
    holder = request.get("NetworkConfig") or request.get("TrainingJobDefinition") or request
    context: dict[str, Any] = {"sagemaker:NetworkIsolation": str(holder.get("EnableNetworkIsolation", False)).lower()}
    if vpc := holder.get("VpcConfig"):
        context |= {"sagemaker:VpcSubnets": vpc["Subnets"], "sagemaker:VpcSecurityGroupIds": vpc["SecurityGroupIds"]}
    return context


def code_of(properties: Properties) -> list[tuple[str, str, str]]:
    code = properties["Code"]
    return [
        ("iam:PassRole", properties["Role"], "lambda.amazonaws.com"),
        ("s3:GetObject", f"arn:aws:s3:::{code['S3Bucket']}/{code['S3Key']}", ""),
    ]


def seed_of(properties: Properties) -> list[tuple[str, str, str]]:
    place = properties.get("Code", {}).get("S3")
    return [("s3:GetObject", f"arn:aws:s3:::{place['Bucket']}/{place['Key']}", "")] if place else []


def roles_of_targets(properties: Properties) -> list[tuple[str, str, str]]:
    targets = properties.get("Targets", [])
    return [("iam:PassRole", target["RoleArn"], "events.amazonaws.com") for target in targets if "RoleArn" in target]


NEEDS: dict[str, Needs] = {
    "AWS::Budgets::Budget": Needs(
        lambda p: f"arn:aws:budgets::{ACCOUNT}:budget/{p['Budget']['BudgetName']}",
        ("budgets:ModifyBudget",),
        ("budgets:ModifyBudget",),
        lambda p: [("billing:GetBillingViewData", f"arn:aws:billing::{ACCOUNT}:billingview/primary", "")],
    ),
    "AWS::CloudWatch::Alarm": Needs(
        lambda p: arn("cloudwatch", f"alarm:{p['AlarmName']}"), ("cloudwatch:PutMetricAlarm",), ("cloudwatch:DeleteAlarms",)
    ),
    "AWS::CodeBuild::Project": Needs(
        lambda p: arn("codebuild", f"project/{p['Name']}"),
        ("codebuild:CreateProject",),
        ("codebuild:DeleteProject",),
        lambda p: [("iam:PassRole", p["ServiceRole"], "codebuild.amazonaws.com")],
    ),
    "AWS::CodeCommit::Repository": Needs(
        lambda p: arn("codecommit", p["RepositoryName"]),
        ("codecommit:CreateRepository", "codecommit:CreateCommit"),
        ("codecommit:DeleteRepository",),
        seed_of,
    ),
    "AWS::Events::Rule": Needs(
        lambda p: arn("events", f"rule/{p['Name']}"),
        ("events:PutRule", "events:PutTargets"),
        ("events:RemoveTargets", "events:DeleteRule"),
        roles_of_targets,
    ),
    "AWS::IAM::Role": Needs(
        lambda p: arn("iam", f"role/{p.get('RoleName', 'LaunchRole')}", global_=True),
        ("iam:CreateRole", "iam:PutRolePolicy", "iam:TagRole"),
        ("iam:DeleteRolePolicy", "iam:DeleteRole"),
        lambda p: (
            [("iam:PutRolePermissionsBoundary", arn("iam", f"role/{p.get('RoleName', 'LaunchRole')}", global_=True), "")]
            if "PermissionsBoundary" in p
            else []
        ),
    ),
    "AWS::Lambda::Function": Needs(
        lambda p: arn("lambda", f"function:{p['FunctionName']}"),
        ("lambda:CreateFunction", "lambda:TagResource"),
        ("lambda:DeleteFunction",),
        code_of,
    ),
    "AWS::Logs::LogGroup": Needs(
        lambda p: arn("logs", f"log-group:{p['LogGroupName']}"),
        ("logs:CreateLogGroup", "logs:PutRetentionPolicy"),
        ("logs:DeleteLogGroup",),
    ),
    "AWS::S3::Bucket": Needs(
        lambda p: f"arn:aws:s3:::{p['BucketName']}",
        (
            "s3:CreateBucket", "s3:PutBucketVersioning", "s3:PutBucketPublicAccessBlock", "s3:PutEncryptionConfiguration",
            "s3:PutBucketNotification", "s3:PutBucketOwnershipControls", "s3:PutLifecycleConfiguration",
            "s3:PutBucketTagging",
        ),
        ("s3:DeleteBucket",),
    ),
    "AWS::SNS::Topic": Needs(
        lambda p: arn("sns", p["TopicName"]), ("sns:CreateTopic", "sns:TagResource"), ("sns:DeleteTopic",)
    ),
    "AWS::SQS::Queue": Needs(
        lambda p: arn("sqs", p["QueueName"]), ("sqs:CreateQueue", "sqs:TagQueue"), ("sqs:DeleteQueue",)
    ),
    "AWS::SageMaker::ModelPackageGroup": Needs(
        lambda p: arn("sagemaker", f"model-package-group/{p['ModelPackageGroupName'].lower()}"),
        ("sagemaker:CreateModelPackageGroup", "sagemaker:AddTags"),
        ("sagemaker:DeleteModelPackageGroup",),
    ),
    "AWS::SageMaker::Model": Needs(
        lambda p: arn("sagemaker", "model/named-by-its-stack"),
        ("sagemaker:CreateModel", "sagemaker:AddTags"),
        ("sagemaker:DeleteModel",),
        lambda p: [
            ("iam:PassRole", p["ExecutionRoleArn"], "sagemaker.amazonaws.com"),
            *(
                ("sagemaker:DescribeModelPackage", container["ModelPackageName"], "")
                for container in p.get("Containers") or [p["PrimaryContainer"]]
            ),
        ],
        network_context,
    ),
    "AWS::SageMaker::EndpointConfig": Needs(
        lambda p: arn("sagemaker", "endpoint-config/named-by-its-stack"),
        ("sagemaker:CreateEndpointConfig", "sagemaker:AddTags"),
        ("sagemaker:DeleteEndpointConfig",),
    ),
    "AWS::SageMaker::Endpoint": Needs(
        lambda p: arn("sagemaker", f"endpoint/{p['EndpointName'].lower()}"),
        ("sagemaker:CreateEndpoint", "sagemaker:AddTags"),
        ("sagemaker:DeleteEndpoint",),
    ),
}  # fmt: skip


def needed(resource_type: str, operation: str, properties: Properties) -> list[tuple[str, str, dict[str, Any]]]:
    """What the stack's role has to be allowed for an operation on a resource: action, ARN, context."""
    if resource_type.startswith("Custom::"):
        return [("lambda:InvokeFunction", properties["ServiceToken"], {})]
    return NEEDS[resource_type].of(operation, properties) if resource_type in NEEDS else []
