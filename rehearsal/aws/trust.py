"""The condition keys that an AWS service sends when it assumes a role, according to AWS's documentation.

A trust policy with a condition on any other key locks the service out. The emulator sends the keys in this table, and
tests/test_permissions.py compares every trust policy of the templates with it.
"""

from dataclasses import dataclass

ACCOUNT, REGION = "111122223333", "us-east-1"


@dataclass(frozen=True)
class Service:
    """The condition keys that a service sends, the documentation page, and the ARN that it sends by default."""

    keys: tuple[str, ...]
    page: str
    source_arn: str = ""


BOTH = ("aws:SourceAccount", "aws:SourceArn")
SERVICES = {
    "codebuild.amazonaws.com": Service(
        BOTH, "docs.aws.amazon.com/codebuild/latest/userguide/cross-service-confused-deputy-prevention.html"
    ),
    "events.amazonaws.com": Service(
        BOTH, "docs.aws.amazon.com/eventbridge/latest/userguide/cross-service-confused-deputy-prevention.html"
    ),
    # Only the ARN, in the examples for pipelines, processing, training and inference; tuning jobs have no example. For
    # inference it is literally this ARN with its asterisk, not a model's or an endpoint's.
    "sagemaker.amazonaws.com": Service(
        ("aws:SourceArn",),
        "docs.aws.amazon.com/sagemaker/latest/dg/security-confused-deputy-prevention.html",
        f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:*",
    ),
    # The pages of these three show trust policies without conditions.
    "cloudformation.amazonaws.com": Service(
        (), "docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html"
    ),
    "lambda.amazonaws.com": Service((), "docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html"),
    "servicecatalog.amazonaws.com": Service(
        (), "docs.aws.amazon.com/servicecatalog/latest/adminguide/constraints-launch.html"
    ),
}


def context(service: str, source_arn: str = "") -> dict[str, str]:
    """Return the condition keys, in lower case, that a service sends when it assumes a role for one of its resources."""
    sent = SERVICES[service]
    values = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": source_arn or sent.source_arn}
    return {key.lower(): values[key] for key in sent.keys if values[key]}
