"""Install the bundle in an account, bring it up to date, and take it away again.

What is there is looked at first, and only what differs is done: a second run changes nothing, and one that was broken off
goes on where it was.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import botocore.exceptions

from build.package import BUCKET_NAME, Package, Release, package
from build.publish import upload
from build.template import mapping

STACK = "sagemaker-project-templates"
RELEASES = "releases.json"
LOCATION_TAG = "sagemaker:projectS3TemplatesLocation"
ROLE_POLICY = "sagemaker-project-templates"
STUDIO_ORIGIN = "https://*.sagemaker.aws"
WAIT_SECONDS = 3.0
MOST_WAIT_SECONDS = 1800


@dataclass(frozen=True)
class Wish:
    """What a platform engineer asks for. `studio_role` is found by the domain when it is not given."""

    bucket: str = ""
    studio_role: str = ""
    s3_route: bool = False
    instance_type: str = "ml.g4dn.xlarge"
    projects: tuple[str, ...] = ()


@dataclass
class Account:
    """Where it is installed: clients of one account and region."""

    session: Any
    endpoint: str | None = None
    clients: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, service: str) -> Any:
        """The client of a service, as account.s3; _ stands for -."""
        name = service.replace("_", "-")
        if name not in self.clients:
            self.clients[name] = self.session.client(name, endpoint_url=self.endpoint)
        return self.clients[name]

    @property
    def region(self) -> str:
        return self.session.region_name or ""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: fit (True), not fit (False), or not to be known (None), and what to do."""

    name: str
    fit: bool | None
    what: str

    def __str__(self) -> str:
        return f"{ {True: 'ok', False: 'NO', None: '? '}[self.fit] } {self.name:<28} {self.what}"


@dataclass(frozen=True)
class Action:
    """One thing to do, in words, and how."""

    what: str
    do: Callable[[], Any]


# --- preflight -----------------------------------------------------------------------------------------------------------


def preflight(account: Account, wish: Wish) -> Iterator[Check]:
    """Everything that an installation relies on, a line each."""
    try:
        me = account.sts.get_caller_identity()
        yield Check("credentials", True, me["Arn"])
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        yield Check("credentials", False, f"{error}. Log in, or set AWS_PROFILE.")
        return
    regions = mapping("project.yaml", "Registries")
    if account.region not in regions:
        yield Check(
            "region", False, f"{account.region or 'none'} has no framework images. Set AWS_REGION to one that has."
        )
        return
    yield Check("region", True, account.region)
    yield asked("CodeCommit", lambda: codecommit(account))
    yield asked("templates in Studio", lambda: studio_shows(account))
    yield asked("Studio role", lambda: studio_role_is_there(account, wish))
    yield asked("spot quota", lambda: spot_quota(account, wish))
    yield asked("bucket", lambda: bucket_is_ours(account, wish))
    yield asked("name lengths", lambda: names_fit(account))


def asked(name: str, look: Callable[[], Check]) -> Check:
    """A check, or why it could not be made: not every installer may ask everything."""
    try:
        return look()
    except botocore.exceptions.ClientError as error:
        details = error.response["Error"]
        return Check(name, None, f"could not be asked: {details['Code']} {details['Message']}"[:160])
    except botocore.exceptions.BotoCoreError as error:
        return Check(name, None, f"could not be asked: {error}"[:160])


def codecommit(account: Account) -> Check:
    """AWS closed it to new customers in July 2024 and opened it again in November 2025; accounts differ still."""
    try:
        account.codecommit.list_repositories()
    except botocore.exceptions.EndpointConnectionError:
        return Check("CodeCommit", False, f"is not in {account.region}. Choose a region that has it.")
    return Check("CodeCommit", True, "is there")


def studio_shows(account: Account) -> Check:
    """Whether SageMaker shows Service Catalog's products to Studio."""
    status = account.sagemaker.get_sagemaker_servicecatalog_portfolio_status().get("Status")
    if status != "Enabled":
        todo = "aws sagemaker enable-sagemaker-servicecatalog-portfolio"
        return Check("templates in Studio", False, f"project templates are switched off. Run: {todo}")
    return Check("templates in Studio", True, "switched on")


def studio_role(account: Account, wish: Wish) -> str:
    """The ARN of the role that creates projects. Raises ValueError when it cannot be told which one that is."""
    if wish.studio_role:
        return wish.studio_role
    roles = {}
    for domain in account.sagemaker.list_domains()["Domains"]:
        described = account.sagemaker.describe_domain(DomainId=domain["DomainId"])
        roles[described["DefaultUserSettings"]["ExecutionRole"]] = domain["DomainName"]
    if len(roles) != 1:
        found = "; ".join(f"{role} of {name}" for role, name in roles.items()) or "no Studio domain is there"
        raise ValueError(f"which role creates projects? {found}. Say: STUDIO_ROLE=arn:...")
    return next(iter(roles))


def studio_role_is_there(account: Account, wish: Wish) -> Check:
    try:
        arn = studio_role(account, wish)
    except ValueError as error:
        return Check("Studio role", False, str(error))
    try:
        account.iam.get_role(RoleName=arn.rsplit("/", 1)[-1])
    except account.iam.exceptions.NoSuchEntityException:
        return Check("Studio role", False, f"{arn} does not exist. Say: STUDIO_ROLE=arn:...")
    return Check("Studio role", True, arn)


def spot_quota(account: Account, wish: Wish) -> Check:
    """How many spot instances may train at once; 0 in many new accounts, which only a run would tell."""
    name = f"{wish.instance_type} for spot training job usage"
    pages = account.service_quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    values = [quota["Value"] for page in pages for quota in page["Quotas"] if quota["QuotaName"] == name]
    if not values:
        return Check("spot quota", None, f"there is no quota called {name!r}: is the instance type right?")
    if values[0] < 1:
        return Check("spot quota", False, f"{name}: 0. Ask for more in Service Quotas, or train with mode = on_demand.")
    return Check("spot quota", True, f"{name}: {values[0]:.0f}")


def bucket_is_ours(account: Account, wish: Wish) -> Check:
    name = bucket_name(account, wish)
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
    """The longest names that a project makes, for the longest project's name and id that SageMaker gives."""
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


# --- install and upgrade ---------------------------------------------------------------------------------------------------


def bucket_name(account: Account, wish: Wish) -> str:
    return wish.bucket or f"sagemaker-templates-{account.sts.get_caller_identity()['Account']}-{account.region}"


def prepared(account: Account, wish: Wish) -> Package:
    """The package, with every release that was installed before: the versions that projects were made with stay."""
    bucket = bucket_name(account, wish)
    return package(bucket, installed(account, bucket))


def plan(account: Account, wish: Wish, built: Package) -> list[Action]:
    """What an installation, or an upgrade, would do here."""
    bucket = built.bucket
    actions = bucket_actions(account, bucket, wish.s3_route)
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
    actions += stack_actions(account, wish, built)
    if wish.s3_route:
        actions += s3_route_actions(account, wish, bucket)
    return actions


def installed(account: Account, bucket: str) -> tuple[Release, ...]:
    """The releases that were installed before, the oldest first."""
    try:
        body = account.s3.get_object(Bucket=bucket, Key=RELEASES)["Body"].read()
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchBucket", "404"):
            return ()
        raise
    return tuple(Release(**entry) for entry in json.loads(body))


def keys(account: Account, bucket: str) -> set[str]:
    """What lies in a bucket; nothing where there is none."""
    pages = account.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    try:
        return {found["Key"] for page in pages for found in page.get("Contents", [])}
    except account.s3.exceptions.NoSuchBucket:
        return set()


def bucket_actions(account: Account, bucket: str, s3_route: bool) -> list[Action]:
    """Make the bundle's bucket, and keep it as it has to be."""
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
    # What Studio's page of projects needs, for templates from S3.
    cors = [
        {
            "AllowedOrigins": [STUDIO_ORIGIN],
            "AllowedMethods": ["GET", "PUT", "POST", "HEAD", "DELETE"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
        }
    ]
    actions = []
    there = exists(lambda: s3.head_bucket(Bucket=bucket))
    if not there:
        place = {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
        elsewhere = {} if account.region == "us-east-1" else place  # which S3 refuses to be told
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
    try:
        look()
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def value_or_none(look: Callable[[], Any]) -> Any:
    """What is set, or None where nothing is: S3 answers with an error of its own for each kind."""
    try:
        return look()
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise


def stack_actions(account: Account, wish: Wish, built: Package) -> list[Action]:
    """Create the portfolio's stack, or update it, or neither."""
    cloudformation = account.cloudformation
    stack = describe_stack(cloudformation, STACK)
    role = studio_role(account, wish)
    request = {
        "StackName": STACK,
        "TemplateURL": f"{s3_address(account, built.bucket)}/{built.portfolio}",
        "Parameters": [{"ParameterKey": "StudioRoleArn", "ParameterValue": role}],
        "Capabilities": ["CAPABILITY_IAM"],
    }
    if stack and stack["StackStatus"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"):
        delete = Action(f"delete stack {STACK}, which is {stack['StackStatus']}", lambda: delete_stack(account, STACK))
        return [delete, create_action(account, request)]
    if stack is None:
        return [create_action(account, request)]
    template = cloudformation.get_template(StackName=STACK, TemplateStage="Original")["TemplateBody"]
    given = {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])}
    if template == built.objects[built.portfolio].decode() and given.get("StudioRoleArn") == role:
        return []

    def update() -> None:
        wait_for_stack(cloudformation, STACK)
        cloudformation.update_stack(**request)
        require(wait_for_stack(cloudformation, STACK), "UPDATE_COMPLETE", cloudformation)

    return [Action(f"update stack {STACK}: portfolio, products, launch role", update)]


def create_action(account: Account, request: dict[str, Any]) -> Action:
    cloudformation = account.cloudformation

    def create() -> None:
        cloudformation.create_stack(**request)
        require(wait_for_stack(cloudformation, STACK), "CREATE_COMPLETE", cloudformation)

    return Action(f"create stack {STACK}: portfolio, products, launch role", create)


def s3_address(account: Account, bucket: str) -> str:
    """Where CloudFormation reads templates from."""
    if account.endpoint:
        return f"{account.endpoint}/{bucket}"
    suffix = account.session._session.get_component("endpoint_resolver").get_partition_dns_suffix
    partition = account.session.get_partition_for_region(account.region)
    return f"https://{bucket}.s3.{account.region}.{suffix(partition)}"


def describe_stack(cloudformation: Any, name: str) -> dict[str, Any] | None:
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except botocore.exceptions.ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return None
        raise


def wait_for_stack(cloudformation: Any, name: str) -> dict[str, Any]:
    """The stack when its operation has ended. Raises TimeoutError after half an hour."""
    deadline = time.monotonic() + MOST_WAIT_SECONDS
    while (stack := describe_stack(cloudformation, name)) and stack["StackStatus"].endswith("IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"stack {name} is still {stack['StackStatus']}. Run the same command again later.")
        time.sleep(WAIT_SECONDS)
    return stack or {"StackName": name, "StackStatus": "DELETE_COMPLETE"}


def require(stack: dict[str, Any], status: str, cloudformation: Any) -> None:
    """Raise ValueError with the first reason when a stack did not end as it should."""
    if stack["StackStatus"] == status:
        return
    events = cloudformation.describe_stack_events(StackName=stack["StackName"])["StackEvents"]
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    first = failed[-1] if failed else {"LogicalResourceId": "?", "ResourceStatusReason": "see its events"}
    raise ValueError(
        f"stack {stack['StackName']} ended as {stack['StackStatus']}: "
        f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', '')}. Mend that and run the same command again."
    )


def s3_route_actions(account: Account, wish: Wish, bucket: str) -> list[Action]:
    """Show the templates in Studio without Service Catalog: the domain's tag, and what its role may do besides.

    docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-projects-templates-custom.html
    """
    actions = []
    for domain in account.sagemaker.list_domains()["Domains"]:
        tags = account.sagemaker.list_tags(ResourceArn=domain["DomainArn"])["Tags"]
        wanted = {"Key": LOCATION_TAG, "Value": f"s3://{bucket}/templates/"}
        if wanted not in tags:
            actions.append(
                Action(
                    f"tag domain {domain['DomainName']}: templates are in s3://{bucket}/templates/",
                    lambda arn=domain["DomainArn"], tag=wanted: account.sagemaker.add_tags(ResourceArn=arn, Tags=[tag]),
                )
            )
    role = studio_role(account, wish).rsplit("/", 1)[-1]

    def policy() -> dict[str, Any]:
        outputs = describe_stack(account.cloudformation, STACK)["Outputs"]
        launch = next(output["OutputValue"] for output in outputs if output["OutputKey"] == "LaunchRoleArn")
        return studio_policy(account, bucket, launch)

    def differs() -> bool:
        found = value_or_none(lambda: account.iam.get_role_policy(RoleName=role, PolicyName=ROLE_POLICY))
        return found is None or found["PolicyDocument"] != policy()

    if describe_stack(account.cloudformation, STACK) is None or differs():
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
    """What a Studio role needs besides its own to create projects from templates in S3."""
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
                "Condition": {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}},
            },
            {
                "Sid": "ManageProjectStacks",
                "Effect": "Allow",
                "Action": [
                    "cloudformation:CreateStack",
                    "cloudformation:DeleteStack",
                    "cloudformation:DescribeStackEvents",
                    "cloudformation:DescribeStacks",
                    "cloudformation:UpdateStack",
                ],
                "Resource": stacks,
            },
        ],
    }


# --- running projects ------------------------------------------------------------------------------------------------------


def our_projects(account: Account, bucket: str) -> list[dict[str, Any]]:
    """The projects that were made from this bundle, by either route."""
    stack = describe_stack(account.cloudformation, STACK)
    outputs = {output["OutputKey"]: output["OutputValue"] for output in (stack or {}).get("Outputs", [])}
    products = {outputs.get("CvProductId"), outputs.get("NlpProductId")} - {None}
    found = []
    for page in account.sagemaker.get_paginator("list_projects").paginate():
        for summary in page["ProjectSummaryList"]:
            project = account.sagemaker.describe_project(ProjectName=summary["ProjectName"])
            details = project.get("ServiceCatalogProvisioningDetails", {})
            providers = [entry["CfnTemplateProviderDetail"] for entry in project.get("TemplateProviderDetails", [])]
            if details.get("ProductId") in products or any(bucket in entry["TemplateURL"] for entry in providers):
                found.append(project)
    return found


def project_actions(account: Account, wish: Wish, bucket: str, release: Release) -> list[Action]:
    """Bring running projects to the newest templates; their repositories are their teams' and stay as they are."""
    if not wish.projects:
        return []
    ours = {project["ProjectName"]: project for project in our_projects(account, bucket)}
    chosen = list(ours) if wish.projects == ("all",) else list(wish.projects)
    if unknown := [name for name in chosen if name not in ours]:
        raise ValueError(
            f"no project of this bundle is called {', '.join(unknown)}. There is: {', '.join(ours) or 'none'}."
        )
    return [
        Action(f"update project {name}", lambda name=name: update_project(account, ours[name], release))
        for name in chosen
        if not has(account, ours[name], release)
    ]


def has(account: Account, project: dict[str, Any], release: Release) -> bool:
    """Whether a project was made from a release, or updated to it."""
    if details := project.get("ServiceCatalogProvisioningDetails"):
        return details.get("ProvisioningArtifactId") == artifact_of(account, details["ProductId"], release)
    (provider,) = project["TemplateProviderDetails"]
    return provider["CfnTemplateProviderDetail"]["TemplateURL"].endswith((release.cv, release.nlp))


def artifact_of(account: Account, product: str, release: Release) -> str | None:
    """The id of a release's provisioning artifact."""
    listed = account.servicecatalog.list_provisioning_artifacts(ProductId=product)["ProvisioningArtifactDetails"]
    return next((artifact["Id"] for artifact in listed if artifact["Name"] == release.name), None)


def update_project(account: Account, project: dict[str, Any], release: Release) -> None:
    """Update one project and wait for it. Raises ValueError when it was rolled back."""
    name = project["ProjectName"]
    if details := project.get("ServiceCatalogProvisioningDetails"):
        artifact = artifact_of(account, details["ProductId"], release)
        change: dict[str, Any] = {"ServiceCatalogProvisioningUpdateDetails": {"ProvisioningArtifactId": artifact}}
    else:
        (provider,) = (entry["CfnTemplateProviderDetail"] for entry in project["TemplateProviderDetails"])
        key = release.cv if "project-cv" in provider["TemplateURL"] else release.nlp
        address = f"{provider['TemplateURL'].split('/templates/')[0]}/{key}"
        update = {"TemplateName": provider["TemplateName"], "TemplateURL": address}
        change = {"TemplateProvidersToUpdate": [{"CfnTemplateProvider": update}]}
    account.sagemaker.update_project(ProjectName=name, **change)
    settle_project(account, name, "UpdateCompleted")


def settle_project(account: Account, name: str, wanted: str) -> None:
    """Wait until a project's operation has ended as wanted; "gone" for one that is deleted."""
    deadline = time.monotonic() + MOST_WAIT_SECONDS
    while True:
        try:
            project = account.sagemaker.describe_project(ProjectName=name)
        except botocore.exceptions.ClientError as error:
            if wanted == "gone" and "does not exist" in error.response["Error"]["Message"]:
                return
            raise
        status = project["ProjectStatus"]
        if status == wanted or (wanted == "gone" and status == "DeleteCompleted"):
            return
        if status.endswith("Failed"):
            raise ValueError(
                f"project {name} is {status}. See the events of its stack, and run the same command again."
            )
        if time.monotonic() > deadline:
            raise TimeoutError(f"project {name} is still {status}. Run the same command again later.")
        time.sleep(WAIT_SECONDS)


# --- uninstall -------------------------------------------------------------------------------------------------------------


def removal(account: Account, wish: Wish, force: bool) -> list[Action]:
    """What taking the bundle away would do. Raises ValueError while projects exist, unless it is forced."""
    bucket = bucket_name(account, wish)
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
    for domain in account.sagemaker.list_domains()["Domains"]:
        tags = account.sagemaker.list_tags(ResourceArn=domain["DomainArn"])["Tags"]
        if any(tag["Key"] == LOCATION_TAG and f"/{bucket}/" in tag["Value"] for tag in tags):
            actions.append(
                Action(
                    f"remove the tag of domain {domain['DomainName']}",
                    lambda arn=domain["DomainArn"]: account.sagemaker.delete_tags(
                        ResourceArn=arn, TagKeys=[LOCATION_TAG]
                    ),
                )
            )
    stack = describe_stack(account.cloudformation, STACK)
    given = {entry["ParameterKey"]: entry["ParameterValue"] for entry in (stack or {}).get("Parameters", [])}
    role = given.get("StudioRoleArn", wish.studio_role).rsplit("/", 1)[-1]
    if role and value_or_none(lambda: account.iam.get_role_policy(RoleName=role, PolicyName=ROLE_POLICY)):
        actions.append(
            Action(
                f"take the launching of templates from role {role}",
                lambda: account.iam.delete_role_policy(RoleName=role, PolicyName=ROLE_POLICY),
            )
        )
    if stack:
        actions.append(
            Action(f"delete stack {STACK}: portfolio, products, launch role", lambda: delete_stack(account, STACK))
        )
    if exists(lambda: account.s3.head_bucket(Bucket=bucket)):
        actions.append(Action(f"empty and delete bucket {bucket}", lambda: delete_bucket(account, bucket)))
    return actions


def delete_project(account: Account, name: str) -> None:
    account.sagemaker.delete_project(ProjectName=name)
    settle_project(account, name, "gone")


def delete_stack(account: Account, name: str) -> None:
    wait_for_stack(account.cloudformation, name)
    stack_id = describe_stack(account.cloudformation, name)["StackId"]
    account.cloudformation.delete_stack(StackName=name)
    require(wait_for_stack(account.cloudformation, stack_id), "DELETE_COMPLETE", account.cloudformation)


def delete_bucket(account: Account, bucket: str) -> None:
    """Delete every version in the bundle's bucket, and the bucket."""
    for page in account.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = page.get("Versions", []) + page.get("DeleteMarkers", [])
        objects = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in found]
        if objects:
            account.s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    account.s3.delete_bucket(Bucket=bucket)


# --- what a person sees ----------------------------------------------------------------------------------------------------

IDLE_COST = "While idle nothing of this costs money, but a project's endpoint: the stage that runs is paid by the hour."


def install(account: Account, wish: Wish, dry_run: bool, say: Callable[[str], None] = print) -> int:
    """Check, plan, and unless it is a dry run do it; answers how much there was to do. Raises ValueError for what is not fit."""
    checks = []
    for check in preflight(account, wish):
        say(str(check))
        checks.append(check)
    if unfit := [check.name for check in checks if check.fit is False]:
        raise ValueError(f"not fit to install: {', '.join(unfit)}. Each line above says what to do.")
    built = prepared(account, wish)
    done = carry_out(plan(account, wish, built), dry_run, say)
    done += carry_out(project_actions(account, wish, built.bucket, built.releases[-1]), dry_run, say)
    if not done:
        say("Nothing to change.")
    say(IDLE_COST)
    return done


def uninstall(account: Account, wish: Wish, force: bool, dry_run: bool, say: Callable[[str], None] = print) -> int:
    """Take everything away that installing made."""
    done = carry_out(removal(account, wish, force), dry_run, say)
    if not done:
        say("Nothing is installed.")
    return done


def carry_out(actions: list[Action], dry_run: bool, say: Callable[[str], None]) -> int:
    for action in actions:
        say(f"{'would ' if dry_run else ''}{action.what}")
        if not dry_run:
            action.do()
    return len(actions)
