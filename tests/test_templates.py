"""The templates: what CloudFormation takes, what Studio asks for, and what house style asks for."""

import json
import re

import pytest

from build import ROOT
from build.policies import Template

TEMPLATES = ("portfolio.yaml", "project.yaml")


def text_of(name: str) -> str:
    return (ROOT / "templates" / name).read_text()


@pytest.mark.parametrize("name", TEMPLATES)
def test_there_is_no_yaml_alias(name):
    """CloudFormation does not resolve them (AWSCloudFormation/latest/UserGuide/template-formats.html)."""
    assert re.findall(r"(?m)(?:: |- )[&*][a-z-]+\s*$", text_of(name)) == []


def test_studio_finds_its_parameters_and_its_products():
    assert re.findall(r"(?m)^  (SageMakerProject\w+):$", text_of("project.yaml")) == [
        "SageMakerProjectName",
        "SageMakerProjectId",
    ]
    assert text_of("portfolio.yaml").count("Key: sagemaker:studio-visibility") == 2


def test_every_rule_is_filtered_to_the_projects_own():
    rules = re.findall(r"Type: AWS::Events::Rule\n(.*?)\n\n", text_of("project.yaml"), re.DOTALL)

    own = (
        "resources: [!GetAtt",
        "ModelPackageGroupName: [!Sub",
        "- !Ref Build",
        "SageMakerProjectId}'",
        "SageMakerProjectId}-*'",
    )
    assert len(rules) == 7
    assert all(any(name in rule.split("Targets:")[0].split("EventPattern:")[1] for name in own) for rule in rules)


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
    """With either, EventBridge delivers nothing and says nothing: the template says where AWS has it."""
    resources = Template(text_of("project.yaml")).body["Resources"]
    statements = resources["NoticesPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (allowing,) = [each for each in statements if each.get("Principal") == {"Service": "events.amazonaws.com"}]
    rules = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::Events::Rule"]
    to_topic = [target for rule in rules for target in rule["Targets"] if target["Arn"] == {"Ref": "Notices"}]

    assert "Condition" not in allowing
    assert len(to_topic) == 3
    assert [target for target in to_topic if "RoleArn" in target] == []


LONGEST_INLINE = 10_240  # characters of all inline policies of a role, without white space (IAM's quotas)


def test_the_policies_of_a_role_are_within_iams_limit_with_every_parameter_given():
    sizes: dict[str, int] = {}
    for name, document in Template(text_of("project.yaml")).policies():
        role = name.split(".")[0]
        sizes[role] = sizes.get(role, 0) + len(re.sub(r"\s", "", json.dumps(document)))

    assert sizes["PipelineRole"] > 3000
    assert {role: size for role, size in sizes.items() if size > LONGEST_INLINE * 0.9} == {}
