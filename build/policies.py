"""Resolve the policy documents of templates, with a plausible value for each intrinsic function, and lint them.

    .venv/lint/bin/python -m build.policies templates/project.yaml

prints parliament's findings, one line each, and exits with status 1 if there are any.
"""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ACCOUNT = "111122223333"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::StackId": f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/SP-p-0123456789ab/01234567-89ab-cdef-0123-456789abcdef",
    "AWS::StackName": "stack",
    "AWS::URLSuffix": "amazonaws.com",
}
# A value that matches its AllowedPattern, for each parameter that is without a default or has an empty one.
PARAMETERS = {
    "SageMakerProjectName": "desk",
    "SageMakerProjectId": "p-0123456789ab",
    "StudioRoleArn": f"arn:aws:iam::{ACCOUNT}:role/Studio",
    "KmsKeyArn": f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/own",
    "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "SecurityGroupIds": "sg-0123456789abcdef0",
    "DataBucketArns": "arn:aws:s3:::letters,arn:aws:s3:::pictures",
    "ImageRepositoryArns": f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/own",
    "FunctionArns": f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:own",
}
# ARNs that `Ref` or `GetAtt` return, for the resource types that policies refer to; below, the property with the name.
ARNS = {
    "AWS::CodeBuild::Project": "arn:{partition}:codebuild:{region}:{account}:project/{name}",
    "AWS::CodeCommit::Repository": "arn:{partition}:codecommit:{region}:{account}:{name}",
    "AWS::Events::Rule": "arn:{partition}:events:{region}:{account}:rule/{name}",
    "AWS::IAM::Role": "arn:{partition}:iam::{account}:role/{name}",
    "AWS::Lambda::Function": "arn:{partition}:lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "arn:{partition}:logs:{region}:{account}:log-group:{name}:*",
    "AWS::S3::Bucket": "arn:{partition}:s3:::{name}",
    "AWS::SNS::Topic": "arn:{partition}:sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "arn:{partition}:sqs:{region}:{account}:{name}",
}
NAMES = {
    "AWS::CodeBuild::Project": "Name",
    "AWS::CodeCommit::Repository": "RepositoryName",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
}


# Accepted findings of parliament, by policy and finding. Its list of actions is older than cfn-lint's.
EACH_ITS_OWN = (
    "an interface, subnets and security groups: a statement for each kind, since each has a condition of its own"
)
RIGHT = {
    ("LaunchRole.project-stack", "RESOURCE_STAR"): "objects that Service Catalog tagged, wherever it keeps them",
    ("LaunchRole.project-stack", "UNKNOWN_ACTION"): "billing:GetBillingViewData is new, and cfn-lint knows it",
    ("PipelineRole.ec2", "RESOURCE_MISMATCH"): EACH_ITS_OWN,
    ("EndpointRole.ec2", "RESOURCE_MISMATCH"): EACH_ITS_OWN,
    ("PipelineRole.sagemaker-mlflow", "UNKNOWN_ACTION"): "sagemaker:CallMlflowAppApi is new, and cfn-lint knows it",
}


class Loader(yaml.SafeLoader):
    """Loads the short forms of CloudFormation's functions as their long forms: `!Ref X` as {"Ref": "X"}."""


def construct(loader: Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = node.value.split(".", 1) if tag == "GetAtt" else node.value
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Loader.add_multi_constructor("!", construct)
# Load dates as strings: YAML would parse a policy's Version as a date, but IAM needs a string.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Template:
    """A template with values for its parameters. Every condition is true, so that optional statements are included."""

    def __init__(self, text: str, parameters: dict[str, str] | None = None):
        self.body = yaml.load(text, Loader)  # noqa: S506  (a SafeLoader)
        self.values = PSEUDO_PARAMETERS | PARAMETERS | (parameters or {})

    def resolve(self, value: Any) -> Any:
        """Return a value with its intrinsic functions resolved. Raise ValueError for an unknown function or name."""
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        name, inner = next(iter(value.items()), ("", None))
        if name != "Ref" and not name.startswith("Fn::"):
            return {key: self.resolve(item) for key, item in value.items()}
        if name == "Fn::If":
            return self.resolve(inner[1])
        if name == "Fn::Sub":
            text, names = inner if isinstance(inner, list) else (inner, {})
            return re.sub(r"\$\{([^!}][^}]*)}", lambda found: self.named(found[1], names), text)
        inner = self.resolve(inner)
        match name:
            case "Ref":
                return self.named(inner, {})
            case "Fn::GetAtt":
                return self.named(".".join(inner), {})
            case "Fn::Join":
                return inner[0].join(inner[1])
            case "Fn::Split":
                return inner[1].split(inner[0])
            case "Fn::FindInMap":
                return self.body["Mappings"][inner[0]][inner[1]][inner[2]]
        raise ValueError(f"{name} is not known here. Say in build/policies.py what it gives.")

    def named(self, name: str, names: dict[str, Any]) -> str:
        """Return the value of ${name}: from Fn::Sub's own `names`, a parameter, a resource or one of its attributes."""
        if name in names:
            return self.resolve(names[name])
        if name in self.values:
            return self.values[name]
        if name in self.body.get("Parameters", {}):
            return self.body["Parameters"][name].get("Default", "value")
        logical_id, _, attribute = name.partition(".")
        if logical_id not in self.body["Resources"]:
            raise ValueError(f"{name!r} is neither a parameter nor a resource of the template.")
        kind = self.body["Resources"][logical_id]["Type"]
        physical = self.physical_name(logical_id)
        return (
            self.arn(kind, physical) if attribute == "Arn" or (kind, attribute) == ("AWS::SNS::Topic", "") else physical
        )

    def physical_name(self, logical_id: str) -> str:
        """Return a resource's physical name: the one that the template sets, or one as CloudFormation generates it."""
        resource = self.body["Resources"][logical_id]
        named = resource.get("Properties", {}).get(NAMES.get(resource["Type"], ""))
        return self.resolve(named) if named else f"stack-{logical_id}-0123456789AB"

    def arn(self, kind: str, name: str) -> str:
        place = {part.lower(): self.values[f"AWS::{part}"] for part in ("Partition", "Region")}
        return ARNS[kind].format(name=name, account=self.values["AWS::AccountId"], **place)

    def policies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each policy document after its place in the template, such as PipelineRole.s3."""
        for logical_id, resource in self.body["Resources"].items():
            properties = resource.get("Properties", {})
            if "AssumeRolePolicyDocument" in properties:
                yield f"{logical_id}.trust", self.trust(logical_id, properties["AssumeRolePolicyDocument"])
            if "PolicyDocument" in properties:
                yield logical_id, self.resolve(properties["PolicyDocument"])
            for policy in self.resolve(properties.get("Policies", [])):
                yield f"{logical_id}.{policy['PolicyName']}", policy["PolicyDocument"]

    def trust(self, logical_id: str, document: dict[str, Any]) -> dict[str, Any]:
        """Return a role's trust policy with the role as Resource, which parliament requires in every statement."""
        document = self.resolve(document)
        role = self.arn("AWS::IAM::Role", logical_id)
        return {**document, "Statement": [{**each, "Resource": role} for each in document["Statement"]]}


def findings(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield parliament's findings in a template's policies: the policy, the issue, and its details."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parliament imports pkg_resources, which is deprecated
        from parliament import analyze_policy_string  # only .venv/lint has it

    for where, document in Template(path.read_text()).policies():
        for finding in analyze_policy_string(json.dumps(document)).findings:
            yield where, finding.issue, str(finding.detail)


if __name__ == "__main__":
    found = [
        f"{name}: {where}: {issue} {detail}"
        for name in sys.argv[1:]
        for where, issue, detail in findings(Path(name))
        if (where, issue) not in RIGHT
    ]
    print("\n".join(found))
    sys.exit(bool(found))
