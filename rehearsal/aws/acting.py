"""IAM actions that CloudFormation needs from a stack's role to create, update and delete each resource type.

Each type has its essential actions, as its resource schema lists them under `handlers` (tests/test_cloudformation.py
compares them), without those that only read. tests/test_launch_role.py checks all actions against the launch role. A
type that is not listed is refused.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

ACCOUNT, REGION = "111122223333", "us-east-1"
Properties = dict[str, Any]
# These actions have no resource-level permissions: a policy can allow them only on "*".
# docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
UNSCOPED = {"sns:SetSubscriptionAttributes", "sns:Unsubscribe"}


@dataclass(frozen=True)
class Needs:
    """IAM actions on a resource, and on roles and objects passed along with it: (action, ARN, service).

    `update` maps a property that changes to actions; "-Property" stands for its removal, and "*" for every property
    without an entry.
    """

    arn: Callable[[Properties], str | list[str]]
    create: tuple[str, ...]
    delete: tuple[str, ...]
    hands_over: Callable[[Properties], list[tuple[str, str, str]]] = lambda properties: []
    context: Callable[[Properties], dict[str, Any]] = lambda properties: {}
    update: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(
        self, operation: str, properties: Properties, changed: Set[str] = frozenset()
    ) -> list[tuple[str, str, dict[str, Any]]]:
        """Return (action, ARN, context) of all permissions that an operation needs; a context has condition keys."""
        actions = {"create": self.create, "delete": self.delete, "update": self._updating(changed, properties)}[
            operation
        ]
        arns = self.arn(properties)
        scopes = {
            action: ["*"] if action in UNSCOPED else [arns] if isinstance(arns, str) else arns for action in actions
        }
        needed = [(action, arn, self.context(properties)) for action in actions for arn in scopes[action]]
        for action, arn, service in self.hands_over(properties) if operation != "delete" else []:
            needed.append((action, arn, {"iam:PassedToService": service} if service else {}))
        return needed

    def _updating(self, changed: Set[str], properties: Properties) -> tuple[str, ...]:
        removed = {f"-{name}" for name in changed - properties.keys()} & self.update.keys()
        names = sorted(removed | {name for name in changed if f"-{name}" not in removed})
        if missing := [name for name in names if name not in self.update and "*" not in self.update]:
            unknown = ", ".join(missing)
            raise ValueError(f"what an update of {unknown} needs is not emulated: add it to rehearsal/aws/acting.py")
        return tuple(dict.fromkeys(action for name in names for action in self.update.get(name, self.update.get("*"))))


def arn(service: str, name: str, *, global_: bool = False) -> str:
    return f"arn:aws:{service}:{'' if global_ else REGION}:{ACCOUNT}:{name}"


def named(properties: Properties, name: str) -> str:
    """Return a resource's name, or a placeholder for the name that CloudFormation generates from its stack's."""
    return properties.get(name, "named-by-its-stack")


def network_context(request: dict[str, Any]) -> dict[str, Any]:
    """Return the IAM condition keys about the network in a request for a job or a model.

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
        update={"*": ("budgets:ModifyBudget",)},
    ),
    "AWS::CloudWatch::Alarm": Needs(
        lambda p: arn("cloudwatch", f"alarm:{named(p, 'AlarmName')}"), ("cloudwatch:PutMetricAlarm",), ("cloudwatch:DeleteAlarms",),
        update={"Tags": ("cloudwatch:TagResource",), "*": ("cloudwatch:PutMetricAlarm",)},
    ),
    "AWS::CodeBuild::Project": Needs(
        lambda p: arn("codebuild", f"project/{named(p, 'Name')}"),
        ("codebuild:CreateProject",),
        ("codebuild:DeleteProject",),
        lambda p: [("iam:PassRole", p["ServiceRole"], "codebuild.amazonaws.com")],
        update={"*": ("codebuild:UpdateProject",)},
    ),
    "AWS::CodeCommit::Repository": Needs(
        lambda p: arn("codecommit", named(p, "RepositoryName")),
        ("codecommit:CreateRepository", "codecommit:CreateCommit"),
        ("codecommit:DeleteRepository",),
        seed_of,
        update={
            "Code": (),  # used only at creation
            "RepositoryDescription": ("codecommit:UpdateRepositoryDescription",),
            "Tags": ("codecommit:TagResource",),
            "Triggers": ("codecommit:PutRepositoryTriggers",),
        },
    ),
    "AWS::Events::Rule": Needs(
        lambda p: arn("events", f"rule/{named(p, 'Name')}"),
        ("events:PutRule", "events:PutTargets"),
        ("events:RemoveTargets", "events:DeleteRule"),
        roles_of_targets,
        update={"Tags": ("events:TagResource",), "Targets": ("events:PutTargets",), "*": ("events:PutRule",)},
    ),
    "AWS::IAM::Role": Needs(
        lambda p: arn("iam", f"role/{named(p, 'RoleName')}", global_=True),
        ("iam:CreateRole", "iam:PutRolePolicy", "iam:TagRole"),
        ("iam:DeleteRolePolicy", "iam:DeleteRole"),
        lambda p: (
            [("iam:PutRolePermissionsBoundary", arn("iam", f"role/{named(p, 'RoleName')}", global_=True), "")]
            if "PermissionsBoundary" in p
            else []
        ),
        update={
            "AssumeRolePolicyDocument": ("iam:UpdateAssumeRolePolicy",),
            "Description": ("iam:UpdateRoleDescription",),
            "MaxSessionDuration": ("iam:UpdateRole",),
            "PermissionsBoundary": (),  # see hands_over above
            "-PermissionsBoundary": ("iam:DeleteRolePermissionsBoundary",),
            "Policies": ("iam:PutRolePolicy",),
            "Tags": ("iam:TagRole",),
        },
    ),
    "AWS::Lambda::Function": Needs(
        lambda p: arn("lambda", f"function:{named(p, 'FunctionName')}"),
        ("lambda:CreateFunction", "lambda:TagResource"),
        ("lambda:DeleteFunction",),
        code_of,
        update={
            "Code": ("lambda:UpdateFunctionCode",),
            "Tags": ("lambda:TagResource",),
            "*": ("lambda:UpdateFunctionConfiguration",),
        },
    ),
    "AWS::Lambda::Permission": Needs(
        lambda p: arn("lambda", f"function:{p['FunctionName'].rsplit(':', 1)[-1]}"),
        ("lambda:AddPermission",),
        ("lambda:RemovePermission",),
    ),
    "AWS::Logs::LogGroup": Needs(
        lambda p: arn("logs", f"log-group:{named(p, 'LogGroupName')}"),
        ("logs:CreateLogGroup", "logs:PutRetentionPolicy"),
        ("logs:DeleteLogGroup",),
        update={
            "RetentionInDays": ("logs:PutRetentionPolicy",),
            "-RetentionInDays": ("logs:DeleteRetentionPolicy",),
            "Tags": ("logs:TagResource",),
        },
    ),
    "AWS::S3::Bucket": Needs(
        lambda p: f"arn:aws:s3:::{named(p, 'BucketName')}",
        (
            "s3:CreateBucket", "s3:PutBucketVersioning", "s3:PutBucketPublicAccessBlock", "s3:PutEncryptionConfiguration",
            "s3:PutBucketNotification", "s3:PutBucketOwnershipControls", "s3:PutLifecycleConfiguration",
            "s3:PutBucketTagging",
        ),
        ("s3:DeleteBucket",),
        update={
            "BucketEncryption": ("s3:PutEncryptionConfiguration",),
            "LifecycleConfiguration": ("s3:PutLifecycleConfiguration",),
            "NotificationConfiguration": ("s3:PutBucketNotification",),
            "OwnershipControls": ("s3:PutBucketOwnershipControls",),
            "PublicAccessBlockConfiguration": ("s3:PutBucketPublicAccessBlock",),
            "Tags": ("s3:PutBucketTagging",),
            "VersioningConfiguration": ("s3:PutBucketVersioning",),
        },
    ),
    "AWS::S3::BucketPolicy": Needs(
        lambda p: f"arn:aws:s3:::{p['Bucket']}",
        ("s3:PutBucketPolicy",),
        ("s3:DeleteBucketPolicy",),
        update={"PolicyDocument": ("s3:PutBucketPolicy",)},
    ),
    "AWS::SNS::Subscription": Needs(
        lambda p: p["TopicArn"],
        ("sns:Subscribe",),
        ("sns:Unsubscribe",),
        update={"*": ("sns:SetSubscriptionAttributes",)},
    ),
    "AWS::SNS::Topic": Needs(
        lambda p: arn("sns", named(p, "TopicName")), ("sns:CreateTopic", "sns:TagResource"), ("sns:DeleteTopic",),
        update={"Subscription": ("sns:Subscribe",), "Tags": ("sns:TagResource",), "*": ("sns:SetTopicAttributes",)},
    ),
    "AWS::SNS::TopicPolicy": Needs(
        lambda p: p["Topics"],
        ("sns:SetTopicAttributes",),
        ("sns:SetTopicAttributes",),
        update={"*": ("sns:SetTopicAttributes",)},
    ),
    "AWS::SQS::Queue": Needs(
        lambda p: arn("sqs", named(p, "QueueName")), ("sqs:CreateQueue", "sqs:TagQueue"), ("sqs:DeleteQueue",),
        update={"Tags": ("sqs:TagQueue",), "*": ("sqs:SetQueueAttributes",)},
    ),
    "AWS::SQS::QueuePolicy": Needs(
        lambda p: [arn("sqs", url.rsplit("/", 1)[-1]) for url in p["Queues"]],
        ("sqs:SetQueueAttributes",),
        ("sqs:SetQueueAttributes",),
        update={"*": ("sqs:SetQueueAttributes",)},
    ),
    "AWS::SSM::Parameter": Needs(
        lambda p: arn("ssm", f"parameter/{named(p, 'Name').removeprefix('/')}"),
        ("ssm:PutParameter",),
        ("ssm:DeleteParameter",),
        update={"Tags": ("ssm:AddTagsToResource",), "*": ("ssm:PutParameter",)},
    ),
    "AWS::SageMaker::Endpoint": Needs(
        lambda p: arn("sagemaker", f"endpoint/{named(p, 'EndpointName').lower()}"),
        ("sagemaker:CreateEndpoint", "sagemaker:AddTags"),
        ("sagemaker:DeleteEndpoint",),
        update={"Tags": ("sagemaker:AddTags",), "*": ("sagemaker:UpdateEndpoint",)},
    ),
    "AWS::SageMaker::EndpointConfig": Needs(
        lambda p: arn("sagemaker", "endpoint-config/named-by-its-stack"),
        ("sagemaker:CreateEndpointConfig", "sagemaker:AddTags"),
        ("sagemaker:DeleteEndpointConfig",),
        update={"Tags": ("sagemaker:AddTags",)},
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
        update={"Tags": ("sagemaker:AddTags",)},
    ),
    "AWS::SageMaker::ModelPackageGroup": Needs(
        lambda p: arn("sagemaker", f"model-package-group/{named(p, 'ModelPackageGroupName').lower()}"),
        ("sagemaker:CreateModelPackageGroup", "sagemaker:AddTags"),
        ("sagemaker:DeleteModelPackageGroup",),
        update={"ModelPackageGroupPolicy": ("sagemaker:PutModelPackageGroupPolicy",), "Tags": ("sagemaker:AddTags",)},
    ),
    "AWS::ServiceCatalog::CloudFormationProduct": Needs(
        lambda p: arn("catalog", "product/*"),
        ("servicecatalog:CreateProduct", "servicecatalog:TagResource"),
        ("servicecatalog:DeleteProduct",),
        update={
            "ProvisioningArtifactParameters": (
                "servicecatalog:CreateProvisioningArtifact", "servicecatalog:DeleteProvisioningArtifact",
                "servicecatalog:UpdateProvisioningArtifact",
            ),
            "Tags": ("servicecatalog:TagResource",),
            "*": ("servicecatalog:UpdateProduct",),
        },
    ),
    "AWS::ServiceCatalog::LaunchRoleConstraint": Needs(
        lambda p: arn("catalog", f"product/{p['ProductId']}"),
        ("servicecatalog:CreateConstraint",),
        ("servicecatalog:DeleteConstraint",),
        lambda p: [("iam:PassRole", p["RoleArn"], "servicecatalog.amazonaws.com")] if "RoleArn" in p else [],
        update={"*": ("servicecatalog:UpdateConstraint",)},
    ),
    "AWS::ServiceCatalog::Portfolio": Needs(
        lambda p: arn("catalog", "portfolio/*"),
        ("servicecatalog:CreatePortfolio", "servicecatalog:TagResource"),
        ("servicecatalog:DeletePortfolio",),
        update={"Tags": ("servicecatalog:TagResource",), "*": ("servicecatalog:UpdatePortfolio",)},
    ),
    "AWS::ServiceCatalog::PortfolioPrincipalAssociation": Needs(
        lambda p: arn("catalog", f"portfolio/{p['PortfolioId']}"),
        ("servicecatalog:AssociatePrincipalWithPortfolio",),
        ("servicecatalog:DisassociatePrincipalFromPortfolio",),
    ),
    "AWS::ServiceCatalog::PortfolioProductAssociation": Needs(
        lambda p: arn("catalog", f"portfolio/{p['PortfolioId']}"),
        ("servicecatalog:AssociateProductWithPortfolio",),
        ("servicecatalog:DisassociateProductFromPortfolio",),
    ),
}  # fmt: skip


def needed(
    resource_type: str, operation: str, properties: Properties, changed: Set[str] = frozenset()
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (action, ARN, context) of all permissions that a stack's role needs for an operation on a resource.

    Raise ValueError for a resource type that is not listed: with no needs, every role could manage it.
    """
    if resource_type.startswith("Custom::") or resource_type == "AWS::CloudFormation::CustomResource":
        return [("lambda:InvokeFunction", properties["ServiceToken"], {})]
    if resource_type not in NEEDS:
        raise ValueError(
            f"what {resource_type} needs of a stack's role is not emulated: add it to rehearsal/aws/acting.py"
        )
    return NEEDS[resource_type].of(operation, properties, changed)
