"""Install the bundle in an account, update it, and uninstall it.

Every command compares the account with the wanted state and acts only on differences. So a second run changes nothing,
and an interrupted run can be repeated.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import botocore.exceptions

from build.account import Account, identity, listed
from build.package import BUCKET_NAME, Package, Release, package
from build.plan import Action, Check, Request, carry_out
from build.publish import upload
from build.stacks import (
    STACK,
    delete_stack,
    describe_stack,
    outputs_of,
    parameters_of,
    read_template,
    require,
    template_text,
    wait_for_stack,
)
from build.template import mapping
from build.upgrade import NO_UPDATES, delete_project, our_projects, project_actions

RELEASES = "releases.json"
UNCHANGED = "unchanged.json"
LOCATION_TAG = "sagemaker:projectS3TemplatesLocation"
ROLE_POLICY = "sagemaker-project-templates"
STUDIO_ORIGIN = "https://*.sagemaker.aws"
# Stacks whose creation failed: CloudFormation cannot update them, only delete.
NEVER_MADE = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")


# --- preflight -------------------------------------------------------------------------------------------------------


def preflight(account: Account, request: Request) -> Iterator[Check]:
    """Yield a check of everything that an installation relies on. Stop early without a usable region or credentials."""
    if account.region not in mapping("project.yaml", "Registries"):
        what = f"{account.region} has no framework images" if account.region else "no region is set"
        yield Check("region", False, f"{what}. Set AWS_REGION to one that has them, as in AWS_REGION=us-east-1.")
        return
    try:
        yield Check("credentials", True, identity(account)["Arn"])
    except ValueError as error:
        yield Check("credentials", False, str(error))
        return
    yield Check("region", True, account.region)
    yield asked("CodeCommit", lambda: codecommit(account))
    yield asked("templates in Studio", lambda: studio_shows(account))
    yield asked("Studio role", lambda: studio_role_is_there(account, request))
    yield asked("spot quota", lambda: spot_quota(account, request))
    yield asked("bucket", lambda: bucket_is_ours(account, request))
    yield asked("name lengths", lambda: names_fit(account))


def asked(name: str, look: Callable[[], Check]) -> Check:
    """Return a check, or an undecided one with the error: an installer may lack permission for some of the calls."""
    try:
        return look()
    except botocore.exceptions.ClientError as error:
        details = error.response["Error"]
        return Check(name, None, f"could not be checked: {details['Code']} {details['Message']}"[:160])
    except botocore.exceptions.BotoCoreError as error:
        return Check(name, None, f"could not be checked: {error}"[:160])


def codecommit(account: Account) -> Check:
    """Check that the region has CodeCommit.

    AWS closed it to new customers in July 2024 and opened it again in November 2025; accounts differ still.
    """
    try:
        account.codecommit.list_repositories()
    except botocore.exceptions.EndpointConnectionError:
        return Check("CodeCommit", False, f"is not in {account.region}. Choose a region that has it.")
    return Check("CodeCommit", True, "is there")


def studio_shows(account: Account) -> Check:
    """Check that Studio shows project templates from Service Catalog."""
    status = account.sagemaker.get_sagemaker_servicecatalog_portfolio_status().get("Status")
    if status != "Enabled":
        todo = "aws sagemaker enable-sagemaker-servicecatalog-portfolio"
        return Check("templates in Studio", False, f"project templates are switched off. Run: {todo}")
    return Check("templates in Studio", True, "switched on")


def studio_role(account: Account, request: Request) -> str:
    """Return the ARN of the role that creates projects: the requested one, else the installed one, else the domain's.

    Raise ValueError if the domains have no role, or several.
    """
    if request.studio_role:
        return request.studio_role
    if installed := installed_role(account):
        return installed
    roles = {}
    for domain in listed(account.sagemaker, "list_domains", "Domains"):
        described = account.sagemaker.describe_domain(DomainId=domain["DomainId"])
        roles[described["DefaultUserSettings"]["ExecutionRole"]] = domain["DomainName"]
    if len(roles) != 1:
        found = "; ".join(f"{role} of {name}" for role, name in roles.items()) or "no Studio domain is there"
        raise ValueError(f"which role creates projects? {found}. Set STUDIO_ROLE=arn:...")
    return next(iter(roles))


def studio_role_is_there(account: Account, request: Request) -> Check:
    try:
        arn = studio_role(account, request)
    except ValueError as error:
        return Check("Studio role", False, str(error))
    try:
        account.iam.get_role(RoleName=arn.rsplit("/", 1)[-1])
    except account.iam.exceptions.NoSuchEntityException:
        return Check("Studio role", False, f"{arn} does not exist. Set STUDIO_ROLE=arn:...")
    return Check("Studio role", True, arn)


def spot_quota(account: Account, request: Request) -> Check:
    """Check the quota of spot instances for training: it is 0 in many new accounts, where only a run would fail."""
    name = f"{request.instance_type} for spot training job usage"
    quotas = listed(account.service_quotas, "list_service_quotas", "Quotas", ServiceCode="sagemaker")
    values = [quota["Value"] for quota in quotas if quota["QuotaName"] == name]
    if not values:
        return Check("spot quota", None, f"there is no quota called {name!r}: is the instance type right?")
    if values[0] < 1:
        return Check("spot quota", False, f"{name}: 0. Ask for more in Service Quotas, or train with mode = on_demand.")
    return Check("spot quota", True, f"{name}: {values[0]:.0f}")


def bucket_is_ours(account: Account, request: Request) -> Check:
    try:
        name = bucket_name(account, request)
    except ValueError as error:
        return Check("bucket", False, str(error))
    if not BUCKET_NAME.fullmatch(name):
        return Check(
            "bucket", False, f"{name!r} is no bucket name: 3 to 63 lower case letters, digits, hyphens and dots."
        )
    try:
        found = account.s3.head_bucket(Bucket=name)
    except botocore.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            return Check("bucket", True, f"{name} will be made")
        return Check("bucket", False, f"{name} is not yours ({status}). Name another: BUCKET=...")
    region = found.get("BucketRegion", account.region)
    if region != account.region:
        return Check("bucket", False, f"{name} is in {region}, not {account.region}. Name another: BUCKET=...")
    return Check("bucket", True, f"{name} is there")


def names_fit(account: Account) -> Check:
    """Check that a project's longest resource names are within AWS's limits.

    Assumes the longest project name and id that SageMaker allows: 32 and 20 characters.
    """
    longest = {
        "bucket of a project": (f"sagemaker-{'x' * 20}-{'1' * 12}", 63),
        "model group": (f"{'x' * 32}-{'x' * 20}", 63),
        "function": (f"sagemaker-{'x' * 20}-execute-pipeline", 64),
        "role": (f"sagemaker-{'x' * 20}-project-lifecycle", 64),
    }
    for what, (name, most) in longest.items():
        if len(name) > most:
            return Check("name lengths", False, f"the name of a {what} would have {len(name)} of {most} characters")
    return Check("name lengths", True, "fit for names of 32 and ids of 20 characters")


# --- install and upgrade ---------------------------------------------------------------------------------------------


def bucket_name(account: Account, request: Request) -> str:
    """Return the bundle's bucket: the one that it is installed from, else the requested one, else the default name.

    Raise ValueError if the bundle is installed from another bucket than the requested one.
    """
    there = installed_bucket(account)
    if there and request.bucket not in ("", there):
        raise ValueError(
            f"BUCKET is {request.bucket!r}, but the bundle is installed from {there!r}, and projects depend on it. "
            f"Leave BUCKET out, or move by `make uninstall` and `make install BUCKET={request.bucket}`."
        )
    return there or request.bucket or f"sagemaker-templates-{identity(account)['Account']}-{account.region}"


def installed_bucket(account: Account) -> str:
    """Return the bucket in the installed portfolio's template, or "" if none is installed.

    Raise ValueError if the stack of that name is not this bundle's.
    """
    if describe_stack(account, STACK) is None:
        return ""
    try:
        return read_template(template_text(account, STACK))["Mappings"]["Bundle"]["Stamp"]["Bucket"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"stack {STACK} is not this bundle's: its template has no mapping Bundle.") from error


def prepared(account: Account, request: Request) -> Package:
    """Return the package with all releases that were installed before: projects may have been created with them."""
    bucket = bucket_name(account, request)
    return package(bucket, installed(account, bucket))


def plan(account: Account, request: Request, built: Package) -> list[Action]:
    """Return the actions of an installation or an upgrade; none if all is up to date."""
    bucket, before = built.bucket, installed_role(account)
    s3_route = request.s3_route or has_launch_policy(account, before)
    actions = bucket_actions(account, bucket, s3_route)
    there = keys(account, bucket)
    for key in (key for key in built.objects if key not in there):
        actions.append(Action(f"upload s3://{bucket}/{key}", lambda key=key: upload(account.s3, built, key)))
    if built.releases != installed(account, bucket):
        text = json.dumps([vars(release) for release in built.releases], indent=2).encode()
        actions.append(
            Action(
                f"write s3://{bucket}/{RELEASES}: {', '.join(release.name for release in built.releases)}",
                lambda: account.s3.put_object(Bucket=bucket, Key=RELEASES, Body=text),
            )
        )
    actions += stack_actions(account, request, built)
    if s3_route:
        actions += s3_route_actions(account, request, bucket)
    if before != studio_role(account, request):
        actions += revoke_actions(account, before)
    return actions


def installed_role(account: Account) -> str:
    """Return the ARN of the Studio role that has access to the installed portfolio, or "" if none is installed."""
    stack = describe_stack(account, STACK)
    return "" if stack is None or stack["StackStatus"] in NEVER_MADE else parameters_of(stack)["StudioRoleArn"]


def has_launch_policy(account: Account, role: str) -> bool:
    """Return whether a role may launch templates from S3: if so, an upgrade updates that even without S3_ROUTE=1."""
    name = role.rsplit("/", 1)[-1]
    return bool(name) and value_or_none(lambda: launch_policy(account, name)) is not None


def launch_policy(account: Account, name: str) -> dict[str, Any]:
    return account.iam.get_role_policy(RoleName=name, PolicyName=ROLE_POLICY)["PolicyDocument"]


def revoke_actions(account: Account, role: str) -> list[Action]:
    """Return the action that deletes a role's policy for launching templates from S3, if it has one."""
    name = role.rsplit("/", 1)[-1]
    if not has_launch_policy(account, role):
        return []
    return [
        Action(
            f"take the launching of templates from role {name}",
            lambda: account.iam.delete_role_policy(RoleName=name, PolicyName=ROLE_POLICY),
        )
    ]


def installed(account: Account, bucket: str) -> tuple[Release, ...]:
    """Return the releases that were installed before, oldest first."""
    return tuple(release_of(entry) for entry in read_json(account, bucket, RELEASES) or [])


def release_of(entry: dict[str, Any]) -> Release:
    """Return a release as releases.json has it: before 0.2.0, its variants were keys beside its name."""
    return Release(entry["name"], entry.get("projects") or {key: entry[key] for key in entry.keys() - {"name"}})


def read_json(account: Account, bucket: str, key: str) -> Any:
    """Return the content of a JSON object in S3, or None if there is no such object or bucket."""
    try:
        body = account.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchBucket", "404"):
            return None
        raise
    return json.loads(body)


def keys(account: Account, bucket: str) -> set[str]:
    """Return all keys in a bucket; none if there is no such bucket."""
    try:
        return {found["Key"] for found in listed(account.s3, "list_objects_v2", "Contents", Bucket=bucket)}
    except account.s3.exceptions.NoSuchBucket:
        return set()


def bucket_actions(account: Account, bucket: str, s3_route: bool) -> list[Action]:
    """Return the actions that create the bundle's bucket and set what differs in its configuration.

    CORS rules are part of it with `s3_route`.
    """
    s3 = account.s3
    partition = account.session.get_partition_for_region(account.region)
    tls_only = {
        "Sid": "RefusePlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:{partition}:s3:::{bucket}", f"arn:{partition}:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [tls_only]}
    blocked = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    # Studio's page of projects needs CORS to read templates from S3. These are the rules of AWS's own sample
    # (github.com/aws-samples/sagemaker-custom-project-templates, s3_templates/README.md): the developer guide
    # (sagemaker-projects-templates-custom) asks for a CORS policy but gives none.
    cors = [
        {
            "AllowedOrigins": [STUDIO_ORIGIN],
            "AllowedMethods": ["GET", "PUT", "POST", "HEAD", "DELETE"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": [
                "ETag",
                "x-amz-delete-marker",
                "x-amz-id-2",
                "x-amz-request-id",
                "x-amz-server-side-encryption",
                "x-amz-version-id",
            ],
        }
    ]
    actions = []
    there = exists(lambda: s3.head_bucket(Bucket=bucket))
    if not there:
        place = {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
        elsewhere = {} if account.region == "us-east-1" else place  # S3 refuses us-east-1 as a constraint
        actions.append(Action(f"create bucket {bucket}", lambda: s3.create_bucket(Bucket=bucket, **elsewhere)))
    settings: list[tuple[str, Any, Callable[[], Any], Callable[[], Any]]] = [
        (
            "no public access",
            blocked,
            lambda: s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
            lambda: s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocked),
        ),
        (
            "TLS only",
            policy,
            lambda: json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]),
            lambda: s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy)),
        ),
    ]
    if s3_route:
        settings.append(
            (
                "open to Studio's pages (CORS)",
                cors,
                lambda: s3.get_bucket_cors(Bucket=bucket)["CORSRules"],
                lambda: s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": cors}),
            )
        )
    for what, wanted, look, do in settings:
        if not there or value_or_none(look) != wanted:
            actions.append(Action(f"set bucket {bucket}: {what}", do))
    return actions


def exists(look: Callable[[], Any]) -> bool:
    """Return whether a call succeeds: False for an error with status 404; other errors are raised."""
    try:
        look()
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def value_or_none(look: Callable[[], Any]) -> Any:
    """Return a configuration, or None if it is not set.

    For that, S3 and IAM return errors with different codes, but all with status 404.
    """
    try:
        return look()
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def stack_actions(account: Account, request: Request, built: Package) -> list[Action]:
    """Return the actions that create or update the portfolio's stack; none if it is up to date."""
    stack = describe_stack(account, STACK)
    role = studio_role(account, request)
    arguments = {
        "StackName": STACK,
        "TemplateURL": f"{s3_address(account, built.bucket)}/{built.portfolio}",
        "Parameters": [{"ParameterKey": "StudioRoleArn", "ParameterValue": role}],
        "Capabilities": ["CAPABILITY_IAM"],
    }
    if stack and stack["StackStatus"] in NEVER_MADE:
        delete = Action(f"delete stack {STACK}, which is {stack['StackStatus']}", lambda: delete_stack(account, STACK))
        return [delete, create_action(account, arguments)]
    if stack is None:
        return [create_action(account, arguments)]
    if parameters_of(stack).get("StudioRoleArn") == role and has_template(account, built):
        return []
    return [
        Action(f"update stack {STACK}: portfolio, products, launch role", lambda: update(account, built, arguments))
    ]


def has_template(account: Account, built: Package) -> bool:
    """Return whether the stack has this package's portfolio template, or one that CloudFormation considers equal."""
    text = template_text(account, STACK)
    return text == built.objects[built.portfolio].decode() or unchanged(account, built.bucket) == note_of(text, built)


def note_of(text: str, built: Package) -> dict[str, str]:
    """Return the note that `update` stores if this portfolio changes nothing in a stack with the template `text`."""
    return {"stack": hashlib.sha256(text.encode()).hexdigest(), "portfolio": built.portfolio}


def unchanged(account: Account, bucket: str) -> dict[str, str] | None:
    """Return the stored note of the last update that changed nothing, if any."""
    return read_json(account, bucket, UNCHANGED)


def update(account: Account, built: Package, request: dict[str, Any]) -> None:
    """Update the portfolio's stack.

    CloudFormation rejects an update that changes no resource, such as one of a comment, description or output
    (docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html, "No updates to perform"), and keeps
    the old template. A note of that is stored in the bucket, so that the next run does not try the same update again.
    """
    wait_for_stack(account, STACK)
    try:
        account.cloudformation.update_stack(**request)
    except botocore.exceptions.ClientError as error:
        if NO_UPDATES not in error.response["Error"]["Message"]:
            raise
        note = note_of(template_text(account, STACK), built)
        account.s3.put_object(Bucket=built.bucket, Key=UNCHANGED, Body=json.dumps(note).encode())
        return
    require(account, wait_for_stack(account, STACK), "UPDATE_COMPLETE")


def create_action(account: Account, request: dict[str, Any]) -> Action:
    def create() -> None:
        account.cloudformation.create_stack(**request)
        require(account, wait_for_stack(account, STACK), "CREATE_COMPLETE")

    return Action(f"create stack {STACK}: portfolio, products, launch role", create)


def s3_address(account: Account, bucket: str) -> str:
    """Return the URL of a bucket from which CloudFormation reads templates."""
    if account.endpoint:
        return f"{account.endpoint}/{bucket}"
    suffix = account.session._session.get_component("endpoint_resolver").get_partition_dns_suffix
    partition = account.session.get_partition_for_region(account.region)
    return f"https://{bucket}.s3.{account.region}.{suffix(partition)}"


def s3_route_actions(account: Account, request: Request, bucket: str) -> list[Action]:
    """Return the actions that offer the templates in Studio without Service Catalog: tag the domains, extend the role.

    docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-projects-templates-custom.html
    """
    actions = []
    for domain in listed(account.sagemaker, "list_domains", "Domains"):
        tags = listed(account.sagemaker, "list_tags", "Tags", ResourceArn=domain["DomainArn"])
        wanted = {"Key": LOCATION_TAG, "Value": f"s3://{bucket}/templates/"}
        if wanted not in tags:
            actions.append(
                Action(
                    f"tag domain {domain['DomainName']}: templates are in s3://{bucket}/templates/",
                    lambda arn=domain["DomainArn"], tag=wanted: account.sagemaker.add_tags(ResourceArn=arn, Tags=[tag]),
                )
            )
    role = studio_role(account, request).rsplit("/", 1)[-1]

    def policy() -> dict[str, Any]:
        return studio_policy(account, bucket, outputs_of(describe_stack(account, STACK))["LaunchRoleArn"])

    def differs() -> bool:
        return value_or_none(lambda: launch_policy(account, role)) != policy()

    stack = describe_stack(account, STACK)
    if stack is None or stack["StackStatus"] in NEVER_MADE or differs():
        actions.append(
            Action(
                f"let role {role} launch the templates",
                lambda: account.iam.put_role_policy(
                    RoleName=role, PolicyName=ROLE_POLICY, PolicyDocument=json.dumps(policy())
                ),
            )
        )
    return actions


def studio_policy(account: Account, bucket: str, launch_role: str) -> dict[str, Any]:
    """Return the policy that a Studio role additionally needs to create projects from templates in S3.

    The actions on stacks, tagging included, are those of AWS's sample policies for this route
    (github.com/aws-samples/sagemaker-custom-project-templates, s3_templates/mlops-github-actions/iam,
    cfn-stack-sm-projects.json). The sample for iam:PassRole names no service, and no page documents whether the role is
    passed to SageMaker or to CloudFormation first, so both are allowed.
    """
    partition, number = launch_role.split(":")[1], launch_role.split(":")[4]
    stacks = f"arn:{partition}:cloudformation:{account.region}:{number}:stack/SP-*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "ReadTemplates",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket"],
                "Resource": [f"arn:{partition}:s3:::{bucket}", f"arn:{partition}:s3:::{bucket}/templates/*"],
            },
            {
                "Sid": "HandLaunchRoleToStacks",
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": launch_role,
                "Condition": {
                    "StringEquals": {"iam:PassedToService": ["cloudformation.amazonaws.com", "sagemaker.amazonaws.com"]}
                },
            },
            {
                "Sid": "ManageProjectStacks",
                "Effect": "Allow",
                "Action": [
                    "cloudformation:CreateStack",
                    "cloudformation:DeleteStack",
                    "cloudformation:DescribeStackEvents",
                    "cloudformation:DescribeStacks",
                    "cloudformation:TagResource",
                    "cloudformation:UntagResource",
                    "cloudformation:UpdateStack",
                ],
                "Resource": stacks,
            },
        ],
    }


# --- uninstall -------------------------------------------------------------------------------------------------------


def removal(account: Account, request: Request, force: bool) -> list[Action]:
    """Return the actions that uninstall the bundle. Raise ValueError while projects exist, unless `force` is set."""
    bucket = bucket_name(account, request)
    projects = our_projects(account, bucket)
    if projects and not force:
        names = ", ".join(project["ProjectName"] for project in projects)
        raise ValueError(
            f"projects were made from these templates: {names}. Delete them in Studio first, "
            f"or say FORCE=1 to have them deleted with everything in them."
        )
    actions = [
        Action(
            f"delete project {project['ProjectName']} with its repository, bucket, models and endpoints",
            lambda name=project["ProjectName"]: delete_project(account, name),
        )
        for project in projects
    ]
    for domain in listed(account.sagemaker, "list_domains", "Domains"):
        tags = listed(account.sagemaker, "list_tags", "Tags", ResourceArn=domain["DomainArn"])
        if any(tag["Key"] == LOCATION_TAG and f"/{bucket}/" in tag["Value"] for tag in tags):
            actions.append(
                Action(
                    f"remove the tag of domain {domain['DomainName']}",
                    lambda arn=domain["DomainArn"]: account.sagemaker.delete_tags(
                        ResourceArn=arn, TagKeys=[LOCATION_TAG]
                    ),
                )
            )
    stack = describe_stack(account, STACK)
    actions += revoke_actions(account, parameters_of(stack).get("StudioRoleArn", request.studio_role))
    if stack:
        actions.append(
            Action(f"delete stack {STACK}: portfolio, products, launch role", lambda: delete_stack(account, STACK))
        )
    if exists(lambda: account.s3.head_bucket(Bucket=bucket)):
        actions.append(Action(f"empty and delete bucket {bucket}", lambda: delete_bucket(account, bucket)))
    return actions


def delete_bucket(account: Account, bucket: str) -> None:
    """Delete every version and delete marker in the bundle's bucket, and the bucket."""
    for page in account.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        objects = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in found]
        if objects:
            account.s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    account.s3.delete_bucket(Bucket=bucket)


# --- commands --------------------------------------------------------------------------------------------------------

IDLE_COST = "While idle nothing of this costs money, but a project's endpoint: the stage that runs is paid by the hour."


def install(account: Account, request: Request, dry_run: bool, say: Callable[[str], None] = print) -> int:
    """Run the preflight checks, plan, and carry the plan out unless it is a dry run; return the number of actions.

    Raise ValueError if a check fails.
    """
    checks = []
    for check in preflight(account, request):
        say(str(check))
        checks.append(check)
    if unfit := [check.name for check in checks if check.fit is False]:
        raise ValueError(f"cannot install: {', '.join(unfit)}. Each line above says what to do.")
    built = prepared(account, request)
    projects = project_actions(account, request, built)  # raises, if it must, before anything changes
    done = carry_out(plan(account, request, built) + projects, dry_run, say)
    if not done:
        say("Nothing to change.")
    say(IDLE_COST)
    return done


def uninstall(
    account: Account, request: Request, force: bool, dry_run: bool, say: Callable[[str], None] = print
) -> int:
    """Remove everything that installing created, or print what would be removed; return the number of actions.

    Raise ValueError for invalid credentials, or while projects exist and `force` is not set.
    """
    identity(account)
    done = carry_out(removal(account, request, force), dry_run, say)
    if not done:
        say("Nothing is installed.")
    return done
