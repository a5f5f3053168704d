"""The templates: what CloudFormation accepts, what Studio needs, and our own rules for policies."""

import json
import re
from collections.abc import Iterable

import pytest

from build import ROOT
from build.limits import misfits
from build.policies import Template

TEMPLATES = ("portfolio.yaml", "project.yaml")


def text_of(name: str) -> str:
    return (ROOT / "templates" / name).read_text()


@pytest.mark.parametrize("name", TEMPLATES)
def test_there_is_no_yaml_alias(name):
    """CloudFormation does not resolve aliases (AWSCloudFormation/latest/UserGuide/template-formats.html)."""
    assert re.findall(r"(?m)(?:: |- )[&*][a-z-]+\s*$", text_of(name)) == []


def test_studio_finds_its_parameters_and_its_products():
    assert re.findall(r"(?m)^  (SageMakerProject\w+):$", text_of("project.yaml")) == [
        "SageMakerProjectName",
        "SageMakerProjectId",
    ]
    assert text_of("portfolio.yaml").count("Key: sagemaker:studio-visibility") == 1  # of each product


def test_every_rule_is_filtered_to_the_projects_own():
    template = Template(text_of("project.yaml"), {"SageMakerProjectId": "p-unmistakable"})
    rules = [each["Properties"] for each in template.body["Resources"].values() if each["Type"] == "AWS::Events::Rule"]

    assert len(rules) == 7
    assert [rule for rule in rules if "p-unmistakable" not in json.dumps(template.resolve(rule["EventPattern"]))] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_statement_has_a_name_and_no_policy_allows_everything(name):
    text = text_of(name)

    assert "Action: '*'" not in text
    assert re.findall(r"- (\w+:\*)", text) == []


def test_every_star_resource_has_its_reason_above_it():
    lines = "\n".join(text_of(name) for name in TEMPLATES).splitlines()
    stars = [number for number, line in enumerate(lines) if re.match(r"\s+Resource: '\*'", line)]

    assert stars
    for number in stars:
        statement = next(n for n in range(number, 0, -1) if "- Sid:" in lines[n])
        assert lines[statement - 1].strip().startswith("#"), lines[statement]


def test_rules_publish_to_the_topic_without_a_condition_or_a_role():
    """With a Condition EventBridge silently delivers nothing, and AWS is unclear on RoleArn: see NoticesPolicy."""
    resources = Template(text_of("project.yaml")).body["Resources"]
    statements = resources["NoticesPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (allowing,) = [each for each in statements if each.get("Principal") == {"Service": "events.amazonaws.com"}]
    rules = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::Events::Rule"]
    to_topic = [target for rule in rules for target in rule["Targets"] if target["Arn"] == {"Ref": "Notices"}]

    assert "Condition" not in allowing
    assert len(to_topic) == 3
    assert [target for target in to_topic if "RoleArn" in target] == []


def test_every_optional_parameter_takes_an_empty_string_and_is_marked_optional():
    """Studio may send an empty string for a parameter that is left empty."""
    body = Template(text_of("project.yaml")).body
    optional = {name: each for name, each in body["Parameters"].items() if "Default" in each}
    rules = body["Metadata"]["SagemakerTemplateParameterRules"]

    assert misfits(optional, dict.fromkeys(optional, "")) == []
    assert {each["Type"] for each in optional.values()} == {"String"}
    assert rules == dict.fromkeys(optional, {"Optional": True})
    assert [name for name, each in optional.items() if not each["Description"].startswith("Optional")] == []


@pytest.mark.parametrize("sum_in_dollars", ["", "0", "0.5", "0.01", "1", "49.99", "999999.99", "1000000"])
def test_a_budget_may_be_a_sum_or_nothing(sum_in_dollars):
    assert misfits(Template(text_of("project.yaml")).body["Parameters"], {"MonthlyBudget": sum_in_dollars}) == []


@pytest.mark.parametrize("sum_in_dollars", ["0.0", "00", "-1", "1e3", "0.001", "1000000.5", "1000001", "50 USD"])
def test_a_budget_that_is_no_sum_is_refused(sum_in_dollars):
    assert len(misfits(Template(text_of("project.yaml")).body["Parameters"], {"MonthlyBudget": sum_in_dollars})) == 1


# docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: characters of all inline policies of a role, and
# of a trust policy, without white space.
MAX_INLINE, MAX_TRUST = 10_240, 2_048
# docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_ENVIRONMENT_BYTES = 4_096
# docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
MAX_PATTERN = 2_048
GOV = "arn:aws-us-gov:{}:us-gov-west-1:111122223333:"


def filled(items: Iterable[str], characters: int) -> str:
    """Return as many items, joined by commas, as fit into `characters`.

    Raises ValueError if the items are too few to fill them.
    """
    text = ""
    for item in items:
        longer = f"{text},{item}" if text else item
        if len(longer) > characters:
            return text
        text = longer
    raise ValueError(f"{characters} characters are more than these items have.")


def longest(name_length: int) -> dict[str, str]:
    """Return every parameter at its longest, in the partition with the longest name.

    ARNs in lists end in names of `name_length` characters.
    """
    parameters = Template(text_of("project.yaml")).body["Parameters"]
    names = [f"{number:0{name_length}}" for number in range(100)]
    arns = {
        "DataBucketArns": [f"arn:aws-us-gov:s3:::{name:0>3}" for name in names],
        "ImageRepositoryArns": [GOV.format("ecr") + f"repository/{name}" for name in names],
        "FunctionArns": [GOV.format("lambda") + f"function:{name}" for name in names],
    }
    return {
        "AWS::Partition": "aws-us-gov",
        "AWS::Region": "us-gov-west-1",
        "SageMakerProjectName": "X" * parameters["SageMakerProjectName"]["MaxLength"],
        "SageMakerProjectId": "x" * parameters["SageMakerProjectId"]["MaxLength"],
        "SubnetIds": ",".join(f"subnet-{number:017x}" for number in range(6)),
        "SecurityGroupIds": ",".join(f"sg-{number:017x}" for number in range(5)),
        "KmsKeyArn": (GOV.format("kms") + "key/").ljust(parameters["KmsKeyArn"]["MaxLength"], "0"),
        **{name: filled(items, parameters[name]["MaxLength"]) for name, items in arns.items()},
    }


LONGEST = [longest(2), longest(60)]


@pytest.mark.parametrize("values", LONGEST)
def test_the_longest_values_are_allowed_and_no_longer_ones(values):
    parameters = Template(text_of("project.yaml")).body["Parameters"]
    own = {name: value for name, value in values.items() if name in parameters}
    more = {name: f"{value},{value.split(',')[-1]}" for name, value in own.items() if "," in value}

    assert misfits(parameters, own) == []
    assert [line.split(" ")[0] for line in misfits(parameters, more)] == list(more)


def test_every_parameter_in_a_policy_has_a_longest_value():
    text = text_of("project.yaml")
    parameters = Template(text).body["Parameters"]
    unset = Template(text, {name: f"<{name}>" for name in parameters})
    policies = json.dumps([document for _, document in unset.policies()])

    used = set(re.findall(r"<(\w+)>", policies))
    assert {"DataBucketArns", "KmsKeyArn", "SubnetIds"} < used
    assert used - LONGEST[0].keys() == set()


@pytest.mark.parametrize("values", LONGEST)
def test_the_policies_of_a_role_are_within_iams_limits_with_every_parameter_at_its_longest(values):
    inline: dict[str, int] = {}
    trust: dict[str, int] = {}
    for name, document in Template(text_of("project.yaml"), values).policies():
        role, _, policy = name.partition(".")
        sizes = trust if policy == "trust" else inline
        sizes[role] = sizes.get(role, 0) + len(re.sub(r"\s", "", json.dumps(document)))

    assert inline["PipelineRole"] > 9_000
    assert {role: size for role, size in inline.items() if size > MAX_INLINE} == {}
    assert {role: size for role, size in trust.items() if size > MAX_TRUST} == {}


@pytest.mark.parametrize("values", LONGEST)
def test_the_environments_of_functions_are_within_lambdas_limit_with_every_parameter_at_its_longest(values):
    template = Template(text_of("project.yaml"), values)
    functions = [each for each in template.body["Resources"].values() if each["Type"] == "AWS::Lambda::Function"]
    sizes = [
        len(json.dumps(template.resolve(function["Properties"]["Environment"]["Variables"]))) for function in functions
    ]

    assert len(sizes) == 3
    assert [size for size in sizes if size > MAX_ENVIRONMENT_BYTES] == []


def test_no_rule_uses_a_wildcard_and_patterns_are_within_eventbridges_limit_with_the_longest_names():
    """An event bus allows 30 rules with wildcards, a quota that cannot be raised."""
    template = Template(text_of("project.yaml"), LONGEST[0])
    rules = [each for each in template.body["Resources"].values() if each["Type"] == "AWS::Events::Rule"]
    patterns = [json.dumps(template.resolve(rule["Properties"]["EventPattern"])) for rule in rules]

    assert len(patterns) == 7
    assert [pattern for pattern in patterns if "wildcard" in pattern or len(pattern) > MAX_PATTERN] == []
