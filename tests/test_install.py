"""Install, upgrade and remove the bundle in an emulated account: twice, after an interruption, and with projects."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError, UnauthorizedSSOTokenError
from conftest import ROOT, wait_for

from build import install, upgrade
from build.account import Account, credentials_problem
from build.assemble import git
from build.install import Request, plan, preflight, prepared
from build.package import package
from build.stacks import STACK, describe_stack

BUCKET = "templates-of-tests-111122223333"


@pytest.fixture(scope="module")
def account(emulator, make_role) -> Account:
    """Return an account with a Studio domain."""
    found = Account(emulator.session(), emulator.endpoint, wait_seconds=0.05)
    role = make_role("StudioOfTests", "sagemaker", "*")
    found.sagemaker.create_domain(
        DomainName="studio", AuthMode="IAM", SubnetIds=["subnet-1"], VpcId="vpc-1",
        DefaultUserSettings={"ExecutionRole": role},
    )  # fmt: skip
    found.sagemaker.enable_sagemaker_servicecatalog_portfolio()
    return found


@pytest.fixture
def options(account) -> Request:
    """Yield what to install; nothing is installed before, and everything is uninstalled after."""
    asked = Request(bucket=BUCKET, s3_route=True)
    yield asked
    install.uninstall(account, asked, force=True, dry_run=False, say=lambda line: None)


def said_by(call, *arguments, **options) -> list[str]:
    lines: list[str] = []
    call(*arguments, **options, say=lines.append)
    return lines


def test_a_dry_run_prints_the_plan_and_changes_nothing(account, options):
    lines = said_by(install.install, account, options, dry_run=True)

    assert lines[0].startswith("ok credentials")
    assert f"would create bucket {BUCKET}" in lines
    assert f"would create stack {STACK}: portfolio, products, launch role" in lines
    assert sum(line.startswith(f"would upload s3://{BUCKET}/") for line in lines) == 6
    assert lines[-1] == install.IDLE_COST
    assert BUCKET not in [bucket["Name"] for bucket in account.s3.list_buckets()["Buckets"]]
    assert describe_stack(account, STACK) is None


def test_a_second_installation_changes_nothing(account, options):
    install.install(account, options, dry_run=False, say=lambda line: None)

    lines = said_by(install.install, account, options, dry_run=False)

    assert lines[-2:] == ["Nothing to change.", install.IDLE_COST]
    assert not any("upload" in line or "stack" in line for line in lines)


def test_what_was_installed_is_closed_and_shown_in_studio(account, options):
    install.install(account, options, dry_run=False, say=lambda line: None)

    blocked = account.s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
    policy = json.loads(account.s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    domain = account.sagemaker.list_domains()["Domains"][0]["DomainArn"]
    assert set(blocked.values()) == {True}
    assert [statement["Sid"] for statement in policy["Statement"]] == ["RefusePlainHttp"]
    assert account.s3.get_bucket_cors(Bucket=BUCKET)["CORSRules"][0]["AllowedOrigins"] == ["https://*.sagemaker.aws"]
    assert account.sagemaker.list_tags(ResourceArn=domain)["Tags"] == [
        {"Key": install.LOCATION_TAG, "Value": f"s3://{BUCKET}/templates/"}
    ]
    template = next(key for key in install.keys(account, BUCKET) if "project-nlp" in key)
    tags = account.s3.get_object_tagging(Bucket=BUCKET, Key=template)["TagSet"]
    assert tags == [{"Key": "sagemaker:studio-visibility", "Value": "true"}]


class BrokenOff(Exception):
    """Stands for Ctrl-C or a lost connection."""


def test_an_installation_that_was_broken_off_anywhere_is_gone_on_with(account, options):
    steps = len(plan(account, options, prepared(account, options)))
    assert steps > 10
    for step in range(1, steps, 3):
        lines: list[str] = []

        def say(line: str, most: int = step, lines: list[str] = lines) -> None:
            if not re.match(r"(ok|NO|\?)", line):
                lines.append(line)
            if len(lines) > most:
                raise BrokenOff

        with pytest.raises(BrokenOff):
            install.install(account, options, dry_run=False, say=say)
        install.install(account, options, dry_run=False, say=lambda line: None)

        assert plan(account, options, prepared(account, options)) == []
        install.uninstall(account, options, force=False, dry_run=False, say=lambda line: None)


def test_what_is_not_fit_is_told_in_a_line_with_what_to_do(account, options):
    account.sagemaker.disable_sagemaker_servicecatalog_portfolio()
    try:
        lines = []
        with pytest.raises(ValueError, match="cannot install: templates in Studio, Studio role. Each line above"):
            install.install(
                account,
                Request(bucket=BUCKET, studio_role="arn:aws:iam::111122223333:role/nobody"),
                False,
                lines.append,
            )
    finally:
        account.sagemaker.enable_sagemaker_servicecatalog_portfolio()

    assert (
        "NO templates in Studio          project templates are switched off. Run: aws sagemaker enable-"
        in "\n".join(lines)
    )
    assert "role/nobody does not exist. Set STUDIO_ROLE=arn:..." in "\n".join(lines)


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({"bucket": "My_Bucket"}, "NO bucket                       'My_Bucket' is no bucket name"),
        (
            {"instance_type": "ml.none"},
            "?  spot quota                   there is no quota called 'ml.none for spot training",
        ),
    ],
)
def test_a_wrong_wish_is_told(account, changed, expected):
    lines = [str(check) for check in preflight(account, Request(**({"bucket": BUCKET} | changed)))]

    assert any(line.startswith(expected) for line in lines), lines


@pytest.mark.parametrize("region", [None, "us-esat-1"])
def test_a_region_that_is_missing_or_wrong_is_told_alone(emulator, monkeypatch, region):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)

    (only,) = preflight(Account(boto3.Session(region_name=region)), Request())

    what = f"{region} has no framework images" if region else "no region is set"
    assert str(only) == (
        f"NO region                       {what}. Set AWS_REGION to one that has them, as in AWS_REGION=us-east-1."
    )


NOT_CONFIGURED = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}


@pytest.mark.parametrize(
    "step, changed, expected",
    [
        (
            "uninstall",
            {"AWS_DEFAULT_REGION": ""},
            "error: no region is set. Set AWS_REGION, as in AWS_REGION=us-east-1.\n",
        ),
        (
            "redrive",
            {"AWS_DEFAULT_REGION": ""},
            "error: no region is set. Set AWS_REGION, as in AWS_REGION=us-east-1.\n",
        ),
        ("install", {"AWS_PROFILE": "nobody"}, "error: AWS_PROFILE is 'nobody', and no such profile is configured. "),
        ("uninstall", {"AWS_ACCESS_KEY_ID": "AKIAWRONGWRONGWRONG0"}, "error: AWS refuses the credentials ("),
        ("redrive", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "error: AWS cannot be reached: "),
    ],
)
def test_what_is_wrong_with_region_and_credentials_is_one_line(emulator, step, changed, expected):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = clean | emulator.environment() | NOT_CONFIGURED | changed
    command = [sys.executable, "-m", "build", step, *(["project"] if step == "redrive" else [])]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(expected)


@pytest.mark.parametrize(
    "error, expected",
    [
        (NoCredentialsError(), "there are no credentials. Log in, or set AWS_PROFILE."),
        (
            ClientError({"Error": {"Code": "ExpiredToken", "Message": "expired"}}, "GetCallerIdentity"),
            "the credentials have expired (ExpiredToken). Log in, or set AWS_PROFILE.",
        ),
        (
            UnauthorizedSSOTokenError(),
            "the sign-in of this profile has ended (The SSO session associated with this profile has expired or is "
            "otherwise invalid. To refresh this SSO session run aws sso login with the corresponding profile.). "
            "Run: aws sso login",
        ),
    ],
)
def test_credentials_that_ended_are_told_with_what_to_do(error, expected):
    assert credentials_problem(error) == expected


# --- after a first installation ---------------------------------------------------------------------------------------


def test_a_second_installation_without_a_word_finds_bucket_role_and_route(account, options):
    install.install(account, options, dry_run=False, say=lambda line: None)
    policy = account.iam.get_role_policy(RoleName="StudioOfTests", PolicyName=install.ROLE_POLICY)["PolicyDocument"]
    account.iam.put_role_policy(
        RoleName="StudioOfTests",
        PolicyName=install.ROLE_POLICY,
        PolicyDocument=json.dumps({**policy, "Statement": policy["Statement"][:1]}),
    )

    lines = said_by(install.install, account, Request(), dry_run=False)

    assert f"ok bucket                       {BUCKET} is there" in lines
    assert [line for line in lines if not line.startswith(("ok ", "?  "))] == [
        "let role StudioOfTests launch the templates",
        install.IDLE_COST,
    ]


def test_another_studio_role_launches_templates_in_place_of_the_first(account, options, make_role):
    other = make_role("OtherStudio", "sagemaker")
    install.install(account, options, dry_run=False, say=lambda line: None)

    lines = said_by(install.install, account, Request(studio_role=other), dry_run=False)

    assert lines[-4:] == [
        f"update stack {STACK}: portfolio, products, launch role",
        "let role OtherStudio launch the templates",
        "take the launching of templates from role StudioOfTests",
        install.IDLE_COST,
    ]
    assert account.iam.list_role_policies(RoleName="OtherStudio")["PolicyNames"] == [install.ROLE_POLICY]
    assert install.ROLE_POLICY not in account.iam.list_role_policies(RoleName="StudioOfTests")["PolicyNames"]


def test_another_bucket_than_the_installed_one_is_refused(account, options):
    install.install(account, options, dry_run=False, say=lambda line: None)
    refusal = f"BUCKET is 'another-bucket', but the bundle is installed from '{BUCKET}'"
    lines: list[str] = []

    with pytest.raises(ValueError, match="cannot install: bucket"):
        install.install(account, Request(bucket="another-bucket"), dry_run=False, say=lines.append)
    with pytest.raises(ValueError, match=refusal):
        install.uninstall(account, Request(bucket="another-bucket"), force=False, dry_run=False, say=lines.append)

    assert [line for line in lines if refusal in line] == lines[-2:-1]
    assert not any("another-bucket" in bucket["Name"] for bucket in account.s3.list_buckets()["Buckets"])


def test_removing_finds_the_bucket_that_was_installed_from(account, options):
    install.install(account, options, dry_run=False, say=lambda line: None)

    lines = said_by(install.uninstall, account, Request(), force=False, dry_run=False)

    assert lines[-1] == f"empty and delete bucket {BUCKET}"
    assert BUCKET not in [bucket["Name"] for bucket in account.s3.list_buckets()["Buckets"]]


def test_a_portfolio_that_changes_no_resource_is_tried_once(account, options):
    install.install(account, options, dry_run=False, say=lambda line: None)
    built = prepared(account, options)
    text = built.objects[built.portfolio] + b"# a comment\n"
    built = replace(built, portfolio="templates/portfolio-2.yaml", objects={"templates/portfolio-2.yaml": text})

    actions = plan(account, options, built)
    install.carry_out(actions, False, lambda line: None)

    assert [action.what for action in actions] == [
        f"upload s3://{BUCKET}/templates/portfolio-2.yaml",
        f"update stack {STACK}: portfolio, products, launch role",
    ]
    assert plan(account, options, built) == []
    assert [action.what for action in plan(account, options, prepared(account, options))] == []


def test_credentials_that_are_refused_end_the_preflight(emulator):
    wrong = {"aws_access_key_id": "AKIAWRONGWRONGWRONG0", "aws_secret_access_key": "wrong"}

    (only,) = preflight(Account(emulator.session(wrong), emulator.endpoint), Request())

    assert (only.name, only.fit) == ("credentials", False)
    assert only.what.endswith("Log in, or set AWS_PROFILE.")


# --- upgrade and removal, with a project -----------------------------------------------------------------------------------


def newer(folder: Path) -> Path:
    """Clone this bundle as a later version, whose project template has another log retention; return the clone."""
    git("clone", "--quiet", "--shared", str(ROOT), str(folder))
    for path in ("build/__init__.py", "templates/project.yaml"):
        (folder / path).write_text((ROOT / path).read_text())
    version = folder / "build/__init__.py"
    version.write_text(re.sub(r'VERSION = ".*"', 'VERSION = "9.9.9"', version.read_text()))
    template = folder / "templates/project.yaml"
    template.write_text(template.read_text().replace("RetentionInDays: 90", "RetentionInDays: 30"))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def in_bundle(folder: Path, emulator, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "build", *arguments, "--bucket", BUCKET]
    environment = {**os.environ, **emulator.environment()}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_an_upgrade_keeps_old_versions_updates_a_project_and_leaves_its_repository_alone(
    emulator, account, options, tmp_path
):
    install.install(account, options, dry_run=False, say=lambda line: None)
    outputs = {o["OutputKey"]: o["OutputValue"] for o in describe_stack(account, STACK)["Outputs"]}
    product = outputs["NlpProductId"]
    account.sagemaker.create_project(
        ProjectName="Running",
        ServiceCatalogProvisioningDetails={"ProductId": product, "ProvisioningArtifactId": "x"}
        | artifact(account, product),
    )
    template = f"https://{BUCKET}.s3.us-east-1.amazonaws.com/{package(BUCKET).projects['nlp']}"
    provider = {"TemplateName": "nlp", "TemplateURL": template, "RoleARN": outputs["LaunchRoleArn"]}
    account.sagemaker.create_project(
        ProjectName="FromS3", TemplateProviders=[{"CfnTemplateProvider": provider}], Tags=[]
    )
    upgrade.settle_project(account, "Running", "CreateCompleted")
    upgrade.settle_project(account, "FromS3", "CreateCompleted")
    number = account.sagemaker.describe_project(ProjectName="Running")["ProjectId"]
    repository = f"Running-{number}"
    before = account.codecommit.get_branch(repositoryName=repository, branchName="main")["branch"]["commitId"]
    first = artifacts(account, product)

    done = in_bundle(newer(tmp_path / "bundle"), emulator, "install", "--s3-route", "--projects", "all")

    assert done.returncode == 0, done.stderr
    assert "update project Running" in done.stdout
    assert "update project FromS3" in done.stdout
    second = artifacts(account, product)
    assert list(second) == [*first, "9.9.9"]
    assert {name: second[name] for name in first} == first
    group = f"/aws/lambda/sagemaker-{number}-execute-pipeline"
    (found,) = account.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert found["retentionInDays"] == 30
    assert account.codecommit.get_branch(repositoryName=repository, branchName="main")["branch"]["commitId"] == before
    from_s3 = account.sagemaker.describe_project(ProjectName="FromS3")
    assert account.sagemaker.describe_project(ProjectName="Running")["ProjectStatus"] == "UpdateCompleted"
    assert from_s3["ProjectStatus"] == "UpdateCompleted"
    assert from_s3["TemplateProviderDetails"][0]["CfnTemplateProviderDetail"]["TemplateURL"] != template
    again = in_bundle(tmp_path / "bundle", emulator, "install", "--s3-route", "--projects", "all")
    assert "Nothing to change." in again.stdout, again.stdout + again.stderr

    refused = in_bundle(ROOT, emulator, "uninstall")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "error: projects were made from these templates: Running, FromS3. Delete them in Studio first"
    )
    shown = in_bundle(ROOT, emulator, "uninstall", "--force", "--dry-run").stdout
    assert "would delete project Running with its repository, bucket, models and endpoints" in shown
    gone = in_bundle(ROOT, emulator, "uninstall", "--force")
    assert gone.returncode == 0, gone.stderr
    wait_for(lambda: account.sagemaker.list_projects()["ProjectSummaryList"] == [])
    assert f"empty and delete bucket {BUCKET}" in gone.stdout
    assert in_bundle(ROOT, emulator, "uninstall").stdout == "Nothing is installed.\n"


def artifacts(account: Account, product: str) -> dict[str, str]:
    listed = account.servicecatalog.list_provisioning_artifacts(ProductId=product)["ProvisioningArtifactDetails"]
    return {artifact["Name"]: artifact["Id"] for artifact in listed}


def artifact(account: Account, product: str) -> dict[str, str]:
    return {"ProvisioningArtifactId": list(artifacts(account, product).values())[-1]}


# --- changes of a newer seed ------------------------------------------------------------------------------------------


def test_a_seed_diff_brings_a_team_to_the_newer_seed(tmp_path):
    old = git("rev-list", "--max-count", "1", "--skip", "10", "HEAD").strip()
    patch = subprocess.run(
        [sys.executable, "-m", "build", "seed-diff", old, "HEAD", "nlp"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for commit, folder in ((old, tmp_path / "team"), ("HEAD", tmp_path / "newest")):
        git("clone", "--quiet", "--shared", str(ROOT), str(tmp_path / f"bundle-{folder.name}"))
        git(
            "-C",
            str(tmp_path / f"bundle-{folder.name}"),
            "checkout",
            "--quiet",
            commit if commit == old else git("rev-parse", "HEAD").strip(),
        )
        command = [sys.executable, "-m", "build", "assemble", "nlp", str(folder)]
        subprocess.run(command, cwd=tmp_path / f"bundle-{folder.name}", capture_output=True, check=True)

    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path / "team", check=True)
    subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=tmp_path / "team", input=patch, check=True)

    def files(folder: Path) -> dict[str, bytes]:
        return {
            str(p.relative_to(folder)): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file() and ".git" not in p.parts
        }

    assert patch
    assert files(tmp_path / "team") == files(tmp_path / "newest")


def test_a_seed_diff_of_what_is_no_commit_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "build", "seed-diff", "nowhere", "HEAD", "nlp"], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
