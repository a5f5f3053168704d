"""Upgrade running projects to a newer template by each route: the plan, the parameters kept, and what AWS does."""

import json
import os
import re
import subprocess
import sys

import pytest
from botocore.exceptions import ClientError
from test_install import newer

from build import install
from build.account import Account
from build.install import ROLE_POLICY, prepared
from build.package import Package
from build.plan import Request
from build.stacks import STACK, describe_stack, outputs_of
from build.template import load
from build.upgrade import FILLED_IN, project_actions, project_parameters, settle_project, stack_names, stacks_in_record
from rehearsal.server import ACCOUNT, Emulator

BUCKET = "templates-of-upgrades-111122223333"
ROUTES = ("FromCatalog", "FromS3")
EVERY = {
    "NoticesEmail": "team@example.com",
    "DataBucketArns": "arn:aws:s3:::data-one,arn:aws:s3:::data-two",
    "ImageRepositoryArns": f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/images",
    "FunctionArns": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:features",
    "SubnetIds": "subnet-00000001,subnet-00000002",
    "SecurityGroupIds": "sg-00000001",
    "NetworkIsolation": "true",
    "MonthlyBudget": "50",
    "RetainData": "true",
    "PermissionsBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/Everything",
    "KmsKeyArn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/0",
}


@pytest.fixture(scope="module")
def bundle(account: Emulator) -> Account:
    """Return an account with the bundle installed for a Studio role, for both routes."""
    found = Account(account.session(), account.endpoint, wait_seconds=0.05)
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = found.iam.create_role(RoleName="Studio", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    own = {"Effect": "Allow", "Action": ["sagemaker:*", "servicecatalog:*"], "Resource": "*"}
    allow = json.dumps({"Version": "2012-10-17", "Statement": [own]})
    found.iam.put_role_policy(RoleName="Studio", PolicyName="own", PolicyDocument=allow)
    found.sagemaker.create_domain(
        DomainName="studio", AuthMode="IAM", SubnetIds=["subnet-1"], VpcId="vpc-1",
        DefaultUserSettings={"ExecutionRole": role},
    )  # fmt: skip
    found.sagemaker.enable_sagemaker_servicecatalog_portfolio()
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    boundary = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    found.iam.create_policy(PolicyName="Everything", PolicyDocument=boundary)
    install.install(found, Request(bucket=BUCKET, s3_route=True), dry_run=False, say=lambda line: None)
    return found


@pytest.fixture(scope="module")
def built(bundle: Account) -> Package:
    return prepared(bundle, Request())


@pytest.fixture(scope="module")
def projects(bundle: Account, built: Package) -> Account:
    """Return the same account, with a project by each route that sets every optional parameter."""
    for name in ROUTES:
        bundle.sagemaker.create_project(ProjectName=name, **request(bundle, built, name, EVERY))
    for name in ROUTES:
        settle_project(bundle, name, "CreateCompleted")
    return bundle


def request(bundle: Account, built: Package, route: str, parameters: dict[str, str]) -> dict[str, object]:
    """Return what CreateProject takes for the text template by a route, without the project's name."""
    outputs = outputs_of(describe_stack(bundle, STACK))
    values = [{"Key": name, "Value": value} for name, value in parameters.items()]
    if route == "FromS3":
        address = f"https://{BUCKET}.s3.us-east-1.amazonaws.com/{built.projects['nlp']}"
        provider = {"TemplateName": "nlp", "TemplateURL": address, "RoleARN": outputs["LaunchRoleArn"]}
        return {"TemplateProviders": [{"CfnTemplateProvider": {**provider, "Parameters": values}}]}
    product = outputs["NlpProductId"]
    (artifact,) = bundle.servicecatalog.list_provisioning_artifacts(ProductId=product)["ProvisioningArtifactDetails"]
    details = {"ProductId": product, "ProvisioningArtifactId": artifact["Id"], "ProvisioningParameters": values}
    return {"ServiceCatalogProvisioningDetails": details}


def described(bundle: Account, name: str) -> dict:
    return bundle.sagemaker.describe_project(ProjectName=name)


def changed(built: Package, pattern: str, text: str) -> Package:
    """Return the package with `pattern` replaced by `text` in the project template for text."""
    key = built.projects["nlp"]
    template, count = re.subn(pattern, text, built.objects[key].decode())
    assert count
    return Package(
        built.bucket, {**built.objects, key: template.encode()}, built.portfolio, built.projects, built.releases
    )


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_every_optional_parameter_is_set_here():
    parameters = load("project.yaml")["Parameters"]

    assert EVERY.keys() == parameters.keys() - set(FILLED_IN)
    assert [name for name in EVERY if str(parameters[name]["Default"]) == EVERY[name]] == []


def test_a_project_that_has_the_newest_template_is_left_alone(projects, built):
    assert project_actions(projects, Request(projects=("all",)), built) == []


def test_a_value_that_is_named_is_set_in_a_project_that_is_up_to_date(projects, built):
    actions = project_actions(projects, Request(projects=("FromS3",), parameters={"MonthlyBudget": "60"}), built)

    assert [action.what for action in actions] == ["update project FromS3"]


def test_a_parameter_that_the_newest_template_lost_is_named_in_the_plan(projects, built):
    other = changed(built, r"(?m)^  FunctionArns:$(?=\n    Desc)", "  CallableArns:")

    actions = project_actions(projects, Request(projects=("FromCatalog",)), other)

    assert [action.what for action in actions] == [
        "update project FromCatalog (the template no longer has: FunctionArns)"
    ]


def test_a_value_that_the_newest_template_refuses_is_named_before_anything_changes(projects, built):
    shorter = changed(built, r"\{0,5\}\)\?\$", "{0,0})?$")
    mended = Request(projects=("FromS3",), parameters={"SubnetIds": "subnet-00000001"})

    with pytest.raises(ValueError, match="project FromS3 has what the newest template refuses: SubnetIds is 'subnet-"):
        project_actions(projects, Request(projects=("FromS3",)), shorter)
    assert len(project_actions(projects, mended, shorter)) == 1


def test_a_required_parameter_that_a_project_lacks_is_asked_for_and_taken(projects, built):
    other = changed(built, r"(?m)^Parameters:$", "Parameters:\n  CostCentre:\n    Type: String")

    with pytest.raises(
        ValueError, match='project FromCatalog has no value for CostCentre.* PARAMETERS="CostCentre=value"'
    ):
        project_actions(projects, Request(projects=("all",)), other)
    (action,) = project_actions(projects, Request(projects=("FromS3",), parameters={"CostCentre": "7"}), other)

    assert action.what == "update project FromS3"


@pytest.mark.parametrize(
    "options, expected",
    [
        (Request(projects=("Nobody",)), "no project of this bundle is called Nobody. There is: FromCatalog, FromS3."),
        (
            Request(projects=("all",), parameters={"Budget": "5"}),
            "PARAMETERS names Budget, no parameter of the project",
        ),
        (Request(projects=("all",), parameters={"SageMakerProjectId": "5"}), "PARAMETERS names SageMakerProjectId, no"),
        (
            Request(parameters={"MonthlyBudget": "5"}),
            "PARAMETERS sets MonthlyBudget of no project. Name some: PROJECTS=",
        ),
    ],
)
def test_an_upgrade_that_makes_no_sense_is_refused_before_anything_changes(projects, options, expected):
    lines: list[str] = []

    with pytest.raises(ValueError, match=re.escape(expected)):
        install.install(projects, options, dry_run=False, say=lines.append)

    assert all(line.startswith(("ok ", "?  ")) for line in lines), lines


def test_a_stack_is_in_the_record_of_its_provisioned_product(projects):
    product = described(projects, "FromCatalog")["ServiceCatalogProvisionedProductDetails"]["ProvisionedProductId"]
    (name,) = stack_names(projects, described(projects, "FromCatalog"))

    assert stacks_in_record(projects, product) == [describe_stack(projects, name)["StackId"]]


# --- what AWS does on an update ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_what_an_update_leaves_out_falls_back_to_the_default(projects, built, route):
    kept = {**EVERY, "RetainData": "false"}
    del kept["MonthlyBudget"]
    update(projects, built, route, kept, "UpdateCompleted")

    default = load("project.yaml")["Parameters"]["MonthlyBudget"]["Default"]
    assert project_parameters(projects, described(projects, route)) == {**kept, "MonthlyBudget": str(default)}
    update(projects, built, route, EVERY, "UpdateCompleted")


@pytest.mark.parametrize("route", ROUTES)
def test_an_update_with_a_parameter_that_the_template_does_not_have_fails(projects, built, route):
    with pytest.raises(ValueError, match=r"UpdateFailed: Parameters: \[Budget\] do not exist in the template"):
        update(projects, built, route, {**EVERY, "Budget": "5"}, "UpdateCompleted")

    assert project_parameters(projects, described(projects, route)) == EVERY


def update(bundle: Account, built: Package, route: str, parameters: dict[str, str], status: str) -> None:
    """Update a project without changing its template, and wait until it has the status."""
    asked = request(bundle, built, route, parameters)
    if route == "FromS3":
        provider = asked["TemplateProviders"][0]["CfnTemplateProvider"]
        del provider["RoleARN"]
        change = {"TemplateProvidersToUpdate": [{"CfnTemplateProvider": provider}]}
    else:
        details = asked["ServiceCatalogProvisioningDetails"]
        del details["ProductId"]
        change = {"ServiceCatalogProvisioningUpdateDetails": details}
    bundle.sagemaker.update_project(ProjectName=route, **change)
    settle_project(bundle, route, status)


def without(policy: dict, action: str, service: str) -> dict:
    """Return a policy without an action, and without a service to which roles may be passed; "" removes nothing."""
    text = json.dumps(policy)
    for word in (action, service):
        text = text.replace(f'"{word}", ', "").replace(f', "{word}"', "") if word else text
    return json.loads(text)


@pytest.mark.parametrize(
    "action, service, denied",
    [
        ("", "", ""),
        ("cloudformation:CreateStack", "", "cloudformation:CreateStack"),
        ("cloudformation:TagResource", "", "cloudformation:TagResource"),
        ("", "cloudformation.amazonaws.com", "iam:PassRole"),
        ("", "sagemaker.amazonaws.com", "iam:PassRole"),
    ],
)
def test_a_studio_role_launches_templates_from_s3_with_each_of_its_rights_alone(
    account, bundle, built, action, service, denied
):
    policy = bundle.iam.get_role_policy(RoleName="Studio", PolicyName=ROLE_POLICY)["PolicyDocument"]
    try:
        less = json.dumps(without(policy, action, service))
        bundle.iam.put_role_policy(RoleName="Studio", PolicyName=ROLE_POLICY, PolicyDocument=less)
        said = launch(account, request(bundle, built, "FromS3", {}))
    finally:
        bundle.iam.put_role_policy(RoleName="Studio", PolicyName=ROLE_POLICY, PolicyDocument=json.dumps(policy))

    assert f"not authorized to perform: {denied} on" in said if denied else said == "CreateCompleted"


def launch(aws: Emulator, asked: dict) -> str:
    """Create a project as the Studio role and delete it; return its status, or the error of CreateProject."""
    role = f"arn:aws:iam::{ACCOUNT}:role/Studio"
    given = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="scientist")["Credentials"]
    credentials = {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }
    studio = Account(aws.session(credentials), aws.endpoint, wait_seconds=0.05)
    try:
        studio.sagemaker.create_project(ProjectName="Studio", **asked)
    except ClientError as error:
        return str(error)
    settle_project(studio, "Studio", "CreateCompleted")
    status = described(studio, "Studio")["ProjectStatus"]
    studio.sagemaker.delete_project(ProjectName="Studio")
    settle_project(studio, "Studio", "gone")
    return status


# --- an upgrade ------------------------------------------------------------------------------------------------------------


def test_projects_keep_every_parameter_when_they_are_upgraded(account, projects, tmp_path):
    command = [sys.executable, "-m", "build", "install", "--projects", "all", "--parameters", "MonthlyBudget=60"]
    done = subprocess.run(
        command,
        cwd=newer(tmp_path / "bundle"),
        env=os.environ | account.environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    groups = projects.logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    for route in ROUTES:
        project = described(projects, route)
        prefix = f"/aws/lambda/sagemaker-{project['ProjectId']}-"
        assert project_parameters(projects, project) == {**EVERY, "MonthlyBudget": "60"}
        assert {g["retentionInDays"] for g in groups if g["logGroupName"].startswith(prefix)} == {30}
