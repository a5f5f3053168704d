"""Check that every IAM statement is needed, and that no role can call what it should not.

    .venv/bin/python -m benchmarks.permissions [--sample 3]

For each statement of each role, a small project is created, used and deleted with that statement removed. If this still
succeeds, the statement is either superfluous, or needed for something that the emulator or this walk does not do: KEPT
gives the reason. Then every role tries calls on resources that are not its project's.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

import boto3
from botocore.exceptions import ClientError

from benchmarks.measuring import progress, show
from benchmarks.small_project import Walk, small_package, statements
from build.publish import publish
from rehearsal import server
from rehearsal.server import ACCOUNT, REGION, Emulator

BUCKET = f"permissions-{ACCOUNT}"
# Reasons to keep statements that the small project does not need.
KEPT = {
    "logs": "the play writes the log of a function, a build, a job and an endpoint itself",
    "pull": "the play pulls no images",
    "dead letters": "the play hands a failed event to the queue itself",
    "optional": "only with a parameter that is left empty by default",
    "tuning": "only with [tuning] in settings.toml: tests/test_rehearsal.py runs one",
    "tracking": "only with [tracking] in settings.toml: tests/test_tracking.py holds the calls against it",
    "challenger": "only with [gate] allowed_drop in settings.toml: tests/test_evaluation.py runs it",
    "metrics": "the play draws no metrics",
    "pull request": "the walk has no pull request: tests/test_kept.py has one",
    "reads": "CloudFormation in the play reads nothing back",
    "both": "the play asks for the group's ARN alone; AWS documents the package's, too",
}
REASONS = {
    "WriteBuildLog": "logs", "WriteFunctionLog": "logs", "WriteJobLog": "logs", "WriteEndpointLog": "logs",
    "LogInToRegistry": "pull", "PullFrameworkImages": "pull", "SendDeadLetters": "dead letters",
    "ReadDataBuckets": "optional", "CallAllowedFunctions": "optional", "PullAllowedImages": "optional",
    "TagTunings": "tuning", "StartTunings": "tuning", "FollowAndStopTunings": "tuning", "ReadOwnSecrets": "tracking", "LogRuns": "tracking",
    "CallApps": "tracking", "FindApprovedModel": "challenger", "WriteJobMetrics": "metrics", "WriteEndpointMetrics": "metrics",
    "PullRequestRole/PullSource": "pull request", "FindRepositories": "reads", "FindLogGroups": "reads",
    "ReadTemplatesBeingProvisioned": "reads", "ManageSubscriptions": "optional",
    "TellWhatStays": "optional", "RegisterModels": "both",
}  # fmt: skip


# Parameters that a statement is needed for, by its Sid: the project without the statement is created with them.
KEY = {"KmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0"}
VPC = {"SubnetIds": "subnet-00000001", "SecurityGroupIds": "sg-00000001"}
WITH = {
    **dict.fromkeys(("MakeInterfaces", "JoinSubnets", "JoinSecurityGroups", "UseInterfaces", "SeeNetwork"), VPC),
    **dict.fromkeys(("WriteWithProjectKey", "ReadWithProjectKey", "UseProjectKey", "LetDisksUseProjectKey"), KEY),
    **dict.fromkeys(("ManageBudgets", "ReadBills"), {"MonthlyBudget": "50"}),
}


def start() -> Emulator:
    emulator = server.start()
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    return emulator


def install(emulator: Emulator, without: str = "") -> tuple[str, str]:
    """Install the bundle with the small seed, and without the statement named (as Role/Sid) by `without`.

    Return the ARN of the launch role and the S3 key of the nlp project template.
    """

    def changed(name: str, text: str) -> str:
        statement = statements(text).get(without)
        if statement is None:
            return text
        end = statement.start + len(statement.text)
        return text[: statement.start] + empty(statement.text) + text[end:]

    built = small_package(BUCKET, changed)
    publish(emulator.client("s3"), built)
    for key in (*built.projects.values(), built.portfolio):  # publish() skips keys that are there
        emulator.client("s3").put_object(Bucket=BUCKET, Key=key, Body=built.objects[key])
    cloudformation = emulator.client("cloudformation")
    name = f"portfolio-{without.replace('/', '-') or 'whole'}"
    role = f"arn:aws:iam::{ACCOUNT}:role/StudioOfPermissions"
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=built.objects[built.portfolio].decode(),
        Parameters=[{"ParameterKey": "StudioRoleArn", "ParameterValue": role}],
        Capabilities=["CAPABILITY_IAM"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    outputs = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    launch = next(output["OutputValue"] for output in outputs if output["OutputKey"] == "LaunchRoleArn")
    return launch, built.projects["nlp"]


def empty(statement: str) -> str:
    """Return a statement to put in another's place: it allows nothing that is needed, but keeps the list non-empty."""
    indent = statement[: len(statement) - len(statement.lstrip())]
    more = "".join(
        f"{indent}  {line}\n" for line in ("Effect: Allow", "Action: sts:GetCallerIdentity", "Resource: '*'")
    )
    return f"{indent}- Sid: TakenAway\n{more}"


def take_away(emulator: Emulator, number: int, name: str) -> str:
    """Walk through a project without a statement; return where it got stuck, or "" if it did not."""
    launch, key = install(emulator, name)
    return Walk(emulator, f"Without{number}").whole(launch, BUCKET, key, **WITH.get(name.rsplit("/", 1)[-1], {}))


def all_statements() -> list[str]:
    texts = [(ROOT / "templates" / name).read_text() for name in ("portfolio.yaml", "project.yaml")]
    return [name for text in texts for name in statements(text)]


def reason(name: str) -> str:
    """Return why to keep a statement that the walk does not need, or "" if no reason is known."""
    return KEPT.get(REASONS.get(name, REASONS.get(name.split("/")[1], "")), "")


# --- calls that no role may make -------------------------------------------------------------------------------------


def forbidden(own: str) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield calls on resources outside a role's project: a description, and the call as a function of an `As`.

    `own` is the name of the role.
    """
    theirs = f"arn:aws:iam::{ACCOUNT}:role/TheirsOfPermissions"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    yield "read another bucket", lambda c: c("s3").get_object(Bucket="theirs-of-permissions", Key="x")
    yield "list another bucket", lambda c: c("s3").list_objects_v2(Bucket="theirs-of-permissions")
    yield "write another bucket", lambda c: c("s3").put_object(Bucket="theirs-of-permissions", Key="x", Body=b"")
    yield "make a role", lambda c: c("iam").create_role(RoleName="Admin", AssumeRolePolicyDocument=policy)
    yield (
        "widen another role",
        lambda c: c("iam").put_role_policy(RoleName="TheirsOfPermissions", PolicyName="all", PolicyDocument=policy),
    )
    yield "take another role", lambda c: c("sts").assume_role(RoleArn=theirs, RoleSessionName="mine")
    yield (
        "pass another role",
        lambda c: c("sagemaker").create_pipeline(
            PipelineName=own, PipelineDefinition="{}", RoleArn=theirs, ClientRequestToken="x" * 32
        ),
    )
    yield (
        "read another repository",
        lambda c: c("codecommit").get_branch(repositoryName="theirs-p-theirs00000", branchName="main"),
    )
    yield (
        "register into another group",
        lambda c: c("sagemaker").create_model_package(ModelPackageGroupName="theirs-of-permissions"),
    )
    yield (
        "delete another pipeline",
        lambda c: c("sagemaker").delete_pipeline(PipelineName="theirs-of-permissions", ClientRequestToken="x" * 32),
    )
    yield "delete another stack", lambda c: c("cloudformation").delete_stack(StackName="theirs-of-permissions")
    yield "decrypt with another key", lambda c: c("kms").decrypt(KeyId=c.key, CiphertextBlob=c.sealed)
    yield "read another secret", lambda c: c("secretsmanager").get_secret_value(SecretId="theirs-of-permissions")
    yield "invoke another function", lambda c: c("lambda").invoke(FunctionName="theirs-of-permissions")


class As:
    """Clients with the credentials of a role.

    The role's trust policy is widened to assume it; its permissions stay unchanged.
    """

    def __init__(self, emulator: Emulator, role: str):
        self.emulator = emulator
        name = role.rsplit("/", 1)[-1]
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        document = emulator.client("iam").get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        document["Statement"].append(trust)
        emulator.client("iam").update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(document))
        given = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="tries")["Credentials"]
        self.credentials = {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }
        self.key = self.sealed = None

    def __call__(self, service: str) -> "boto3.client":
        return self.emulator.client(service, self.credentials)


def try_all(emulator: Emulator, roles: list[str]) -> list[tuple[str, str, bool]]:
    """Try all forbidden calls with each role; return the role's name, the call, and whether it was denied."""
    s3, kms = emulator.client("s3"), emulator.client("kms")
    s3.create_bucket(Bucket="theirs-of-permissions")
    s3.put_object(Bucket="theirs-of-permissions", Key="x", Body=b"theirs")
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    emulator.client("iam").create_role(RoleName="TheirsOfPermissions", AssumeRolePolicyDocument=document)
    emulator.client("secretsmanager").create_secret(Name="theirs-of-permissions", SecretString="theirs")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"theirs")["CiphertextBlob"]
    tried = []
    for role in roles:
        clients = As(emulator, role)
        clients.key, clients.sealed = key, sealed
        for what, call in forbidden(role.rsplit("/", 1)[-1]):
            tried.append((role.rsplit("/", 1)[-1], what, is_denied(call, clients)))
    return tried


def roles_of(emulator: Emulator) -> list[str]:
    pages = emulator.client("iam").get_paginator("list_roles").paginate()
    return [role["Arn"] for page in pages for role in page["Roles"]]


def is_denied(call: Callable[[Any], Any], clients: As) -> bool:
    """Return whether a call is denied. Any other error counts as allowed: the request passed authorization."""
    try:
        call(clients)
    except ClientError as error:
        return error.response["Error"]["Code"] in (
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "403",
        )
    return False


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="so many statements, chosen at random; all by default")
    arguments = parser.parse_args(given)
    names = all_statements()
    if arguments.sample:
        names = random.Random(1).sample(names, arguments.sample)
    emulator = start()
    try:
        rows = []
        for number, name in enumerate(names):
            stuck = take_away(emulator, number, name)
            rows.append((name, stuck or "comes through", reason(name) if not stuck else ""))
            progress(f"  {number + 1} of {len(names)}: {name}: {rows[-1][1]}")
        launch, key = install(emulator)
        walk = Walk(emulator, "Whole")
        walk.create(launch, BUCKET, key)
        roles = [role for role in roles_of(emulator) if walk.id in role] + [launch]
        tried = try_all(emulator, roles)
    finally:
        emulator.end()
    kept = [(name, why or "NOTHING") for name, stuck, why in rows if stuck == "comes through"]
    show(("statements taken away", "missed", "not missed"), [(len(rows), len(rows) - len(kept), len(kept))])
    show(("not missed", "stays, because"), kept)
    show(("roles tried", "forbidden calls", "denied"), [(len(roles), len(tried), sum(denied for *_, denied in tried))])
    allowed = [f"{role} may {what}" for role, what, denied in tried if not denied]
    print("\n".join(allowed))
    return 1 if allowed or any(why == "NOTHING" for _, why in kept) else 0


if __name__ == "__main__":
    sys.exit(main())
