"""The scenario of a rehearsal: a platform engineer installs the bundle, a data scientist uses it.

Every step is what that person would do in an AWS account: API calls with the person's credentials, and git.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from operator import itemgetter
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from build import VARIANTS
from build.install import STACK, Account, Request, preflight
from build.install import install as install_bundle
from build.package import Package, package
from rehearsal.console import Console, Step
from rehearsal.loopback import git_credentials
from rehearsal.notices import Mailbox
from rehearsal.server import ACCOUNT, REGION, STATE, Emulator

BUNDLE_BUCKET = f"sagemaker-bundle-{ACCOUNT}"
POLL_SECONDS = 0.3
MAX_SECONDS = 1200
MAX_SECONDS_TO_START = 45
MAX_LOG_LINES = 10_000  # the maximum of GetLogEvents
# What train.py prints at its start, on SIGTERM, and as progress.
BEGINS = re.compile(r"resuming at step (\d+)|no checkpoint: ")
SAVED = re.compile(r"interrupted: checkpoint saved at step (\d+)")
PROGRESS = re.compile(r"step (\d+) of (\d+)")
STUDIO_ROLE = "StudioExecutionRole"
# What the data scientist's Studio role may do here; docs/architecture.md says which of these Studio's own roles lack.
STUDIO_ACTIONS = {
    "sagemaker": [
        "CreateProject", "DeleteProject", "DescribeEndpoint", "DescribeHyperParameterTuningJob", "DescribeModelPackage",
        "DescribePipeline",
        "DescribePipelineExecution", "DescribeProject", "DescribeProcessingJob", "DescribeTrainingJob",
        "InvokeEndpoint", "ListEndpoints", "ListModelPackageGroups", "ListModelPackages", "ListModels",
        "ListPipelineExecutions", "ListPipelineExecutionSteps", "ListPipelines", "ListProjects",
        "ListTrainingJobsForHyperParameterTuningJob",
        "StartPipelineExecution", "StopPipelineExecution", "UpdateModelPackage",
    ],
    "servicecatalog": ["SearchProducts", "DescribeProduct", "ListLaunchPaths", "ListProvisioningArtifacts"],
    "codecommit": ["CreatePullRequest", "GetBranch", "GetRepository", "GitPull", "GitPush", "ListRepositories"],
    "codebuild": ["BatchGetBuilds", "ListBuildsForProject"],
    "cloudformation": ["DescribeStacks", "DescribeStackEvents"],
    "logs": ["DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents", "GetLogEvents"],
    "s3": ["GetObject", "ListBucket", "PutObject"],
    "kms": ["Decrypt", "GenerateDataKey"],
}  # fmt: skip


class ScenarioFailed(Exception):
    """Raised when a step does not end as expected. Has the log lines that explain it, and a hint on what to try."""

    def __init__(self, what: str, log: list[str] | None = None, hint: str = ""):
        super().__init__(what)
        self.log = log or []
        self.hint = hint


@dataclass
class Outcome:
    """A row of the closing table: one variant's model version, metrics, duration and plots."""

    variant: str
    version: int
    metrics: dict[str, float]
    seconds: float
    plots: Path


@dataclass
class Project:
    """A project, its clone, and the builds and executions that the data scientist has already seen."""

    name: str
    id: str
    variant: str
    clone: Path
    seen_builds: set[str] = field(default_factory=set)
    seen_executions: set[str] = field(default_factory=set)

    @property
    def full_name(self) -> str:
        return f"{self.name}-{self.id}"

    @property
    def bucket(self) -> str:
        return f"sagemaker-{self.id}-{ACCOUNT}"

    @property
    def build(self) -> str:
        return f"sagemaker-{self.id}-build"

    @property
    def endpoint(self) -> str:
        return f"{self.full_name}-staging"


def install(emulator: Emulator, console: Console) -> tuple[Package, str]:
    """Install the bundle as the platform engineer; return the package and the launch role's ARN.

    Raises ScenarioFailed if the preflight fails, or if installing again changes anything.
    """
    console.chapter("Install the bundle, once an account (platform engineer)")
    iam, cloudformation = emulator.client("iam"), emulator.client("cloudformation")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    role = iam.create_role(RoleName=STUDIO_ROLE, AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]

    account = Account(emulator.session(), emulator.endpoint)
    account.sagemaker.create_domain(
        DomainName="studio", AuthMode="IAM", SubnetIds=["subnet-1"], VpcId="vpc-1",
        DefaultUserSettings={"ExecutionRole": role},
    )  # fmt: skip
    account.sagemaker.enable_sagemaker_servicecatalog_portfolio()
    request = Request(bucket=BUNDLE_BUCKET, s3_route=True)
    with console.step("preflight") as step:
        looked = list(preflight(account, request))
        if unfit := [str(check) for check in looked if not check.fit]:
            raise ScenarioFailed("the preflight failed", unfit)
        step.result = f"{len(looked)} checks: credentials, region, CodeCommit, Studio, spot quota, bucket, names"
    with console.step("install") as step:
        step.result = (
            f"{install_bundle(account, request, False, lambda line: None)} steps: bucket, upload, portfolio, S3 route"
        )
    with console.step("install again") as step:
        again = install_bundle(account, request, False, lambda line: None)
        if again:
            raise ScenarioFailed(f"a second installation changed {again} things")
        step.result = "nothing to change"
    built = package(BUNDLE_BUCKET)
    stack = wait_for_stack(cloudformation, STACK)
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    allow_studio(iam)
    return built, outputs["LaunchRoleArn"]


def allow_studio(iam: Any) -> None:
    """Give the Studio role what a data scientist needs; the installer has added what templates in S3 need."""
    actions = [f"{service}:{action}" for service, names in STUDIO_ACTIONS.items() for action in names]
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=STUDIO_ROLE, PolicyName="projects", PolicyDocument=document)


def studio_credentials(emulator: Emulator) -> dict[str, str]:
    """Return a data scientist's credentials: a session of the Studio role."""
    role = f"arn:aws:iam::{ACCOUNT}:role/{STUDIO_ROLE}"
    given = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="data-scientist")["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


def git_environment(emulator: Emulator, credentials: dict[str, str]) -> dict[str, str]:
    """Return the environment of the scientist's git, with the REHEARSAL_ID by which traces.py finds its processes."""
    return {
        **os.environ,
        **emulator.environment(credentials),
        "REHEARSAL_ID": Path(emulator.folder).name,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }


class Scientist:
    """The steps of the data scientist, for one variant."""

    def __init__(self, emulator: Emulator, console: Console, variant: str, folder: Path):
        self.emulator = emulator
        self.console = console
        self.variant = variant
        self.folder = folder
        self.credentials = studio_credentials(emulator)
        self.clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = self.emulator.client(service, self.credentials)
        return self.clients[service]

    # --- project -------------------------------------------------------------------------------------------------

    def create_project(self, built: Package, launch_role: str | None, parameters: dict[str, str]) -> Project:
        """Create a project: from the Service Catalog product or, with a launch role, from the template in S3."""
        name, given = VARIANTS[self.variant].project, [{"Key": k, "Value": value} for k, value in parameters.items()]
        if launch_role is None:
            with self.console.step("products that Studio shows") as step:
                found = self.client("servicecatalog").search_products()["ProductViewSummaries"]
                step.result = ", ".join(sorted(product["Name"] for product in found))
            product = next(p["ProductId"] for p in found if p["Name"] == VARIANTS[self.variant].title)
            artifacts = self.client("servicecatalog").list_provisioning_artifacts(ProductId=product)
            details = {
                "ProductId": product,
                "ProvisioningArtifactId": artifacts["ProvisioningArtifactDetails"][0]["Id"],
                "ProvisioningParameters": given,
            }
            request, route = {"ServiceCatalogProvisioningDetails": details}, "Service Catalog"
        else:
            url = f"https://{BUNDLE_BUCKET}.s3.us-east-1.amazonaws.com/{built.projects[self.variant]}"
            provider = {"TemplateName": f"gpu-spot-{self.variant}", "TemplateURL": url, "RoleARN": launch_role}
            provider["Parameters"] = given
            request, route = {"TemplateProviders": [{"CfnTemplateProvider": provider}]}, "template in S3"
        with self.console.step(f"CreateProject ({route})") as step:
            created = self.client("sagemaker").create_project(ProjectName=name, **request)
            self.wait_for_project(name, "CreateCompleted", step)
            step.result = f"{name} {created['ProjectId']}"
        return Project(name, created["ProjectId"], self.variant, self.folder / self.variant / name)

    def wait_for_project(self, name: str, status: str, step: Step) -> None:
        def settled() -> bool:
            found = self.client("sagemaker").describe_project(ProjectName=name)
            step.progress = lambda: found["ProjectStatus"]
            if found["ProjectStatus"].endswith("Failed"):
                details = found.get("ServiceCatalogProvisionedProductDetails", {})
                reason = details.get("ProvisionedProductStatusMessage", "see the stack's events")
                raise ScenarioFailed(f"project {name} is {found['ProjectStatus']}: {reason}", self.stack_events())
            return found["ProjectStatus"] == status

        wait_until(settled, f"project {name} to be {status}")

    def stack_events(self, stacks: list[str] | None = None) -> list[str]:
        """Return the failure events of the given stacks, or of all stacks, for an error message."""
        cloudformation = self.emulator.client("cloudformation")
        names = stacks or [stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]]
        return [
            f"{event['StackName']} {event['LogicalResourceId']} {event['ResourceStatus']}: "
            f"{event.get('ResourceStatusReason', '')}"
            for name in names
            for event in cloudformation.describe_stack_events(StackName=name)["StackEvents"]
            if "FAILED" in event["ResourceStatus"]
        ]

    def clone(self, project: Project) -> None:
        url = self.client("codecommit").get_repository(repositoryName=project.full_name)["repositoryMetadata"][
            "cloneUrlHttp"
        ]
        with self.console.step("git clone") as step:
            project.clone.parent.mkdir(parents=True, exist_ok=True)
            self.git(project.clone.parent, "clone", "--quiet", url, str(project.clone))
            files = self.git(project.clone, "ls-files").splitlines()
            step.result = f"{url}: {len(files)} files"

    def git(self, folder: Path, *arguments: str) -> str:
        """Run git with our credential helper, without this machine's configuration, and return its output.

        Raises ScenarioFailed if it fails.
        """
        options = [
            *git_credentials(Path(sys.executable)),
            "-c", "user.name=Data Scientist", "-c", "user.email=scientist@example.com",
        ]  # fmt: skip
        environment = git_environment(self.emulator, self.credentials)
        done = subprocess.run(
            ["git", *options, *arguments], cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise ScenarioFailed(f"git {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def push(self, project: Project, what: str) -> None:
        """Commit all changes and push them."""
        with self.console.step(f"git push: {what}") as step:
            self.git(project.clone, "add", "--all")
            self.git(project.clone, "commit", "--quiet", "--message", what)
            self.git(project.clone, "push", "--quiet", "origin", "main")
            step.result = self.git(project.clone, "rev-parse", "--short", "HEAD").strip()

    # --- build ---------------------------------------------------------------------------------------------------

    def wait_for_build(self, project: Project, name: str, expected: str = "SUCCEEDED") -> dict[str, Any]:
        """Wait for the next build to end and return it. Raises ScenarioFailed if its status is not the expected one."""
        codebuild = self.client("codebuild")
        with self.console.step(name) as step:

            def next_build() -> str | None:
                ids = codebuild.list_builds_for_project(projectName=project.build)["ids"]
                return next((build for build in ids if build not in project.seen_builds), None)

            build_id = wait_until(next_build, f"a build of {project.build} to start")
            project.seen_builds.add(build_id)

            def ended() -> dict[str, Any] | None:
                build = codebuild.batch_get_builds(ids=[build_id])["builds"][0]
                step.progress = lambda: f"{build['currentPhase']}  {self.last_line(build['logs'])}"
                return build if build["buildStatus"] != "IN_PROGRESS" and build.get("endTime") else None

            build = wait_until(ended, f"build {build_id} to end")
            log = self.log_lines(build["logs"]["groupName"], build["logs"]["streamName"])
            broken = next((f": {line}" for line in log if line.startswith("FAILED ")), "")
            step.result = f"{build['buildStatus']}{broken or self.why(build)}"
            if build["buildStatus"] != expected:
                hint = "`make -j check` in the repository does what the build does. KEEP=1 leaves the emulated AWS up."
                raise ScenarioFailed(f"build {build_id} is {build['buildStatus']}{self.why(build)}", log, hint)
        return build

    @staticmethod
    def why(build: dict[str, Any]) -> str:
        """Return the phase in which a build failed and its message; empty if none did."""
        for phase in build["phases"]:
            if phase.get("phaseStatus") == "FAILED" and phase.get("contexts"):
                return f" in {phase['phaseType']}: {phase['contexts'][0]['message']}"
        return ""

    def last_line(self, logs: dict[str, str]) -> str:
        lines = self.log_lines(logs.get("groupName", ""), logs.get("streamName", ""), 1)
        return lines[-1][:60] if lines else ""

    def log_lines(self, group: str, stream: str, most: int = 40) -> list[str]:
        """Return the last lines of a log stream, or [] if it does not exist yet."""
        try:
            events = self.client("logs").get_log_events(
                logGroupName=group, logStreamName=stream, startFromHead=False, limit=most
            )["events"]
        except ClientError:
            return []
        return [event["message"] for event in events]

    # --- run -----------------------------------------------------------------------------------------------------

    def next_execution(self, project: Project, wait: bool = True) -> str | None:
        """Return the ARN of the pipeline's next execution; None if there is none and `wait` is false."""
        sagemaker = self.client("sagemaker")

        def newest() -> str | None:
            try:
                listed = sagemaker.list_pipeline_executions(PipelineName=project.full_name)[
                    "PipelineExecutionSummaries"
                ]
            except sagemaker.exceptions.ResourceNotFound:
                return None
            arns = [execution["PipelineExecutionArn"] for execution in listed]
            return next((arn for arn in arns if arn not in project.seen_executions), None)

        arn = (
            wait_until(newest, "the pipeline to start", MAX_SECONDS_TO_START, self.function_log(project))
            if wait
            else newest()
        )
        if arn:
            project.seen_executions.add(arn)
        return arn

    def function_log(self, project: Project) -> Callable[[], list[str]]:
        """Return a callable that returns the log of the Lambda function that starts the pipeline."""
        group = f"/aws/lambda/sagemaker-{project.id}-execute-pipeline"

        def lines() -> list[str]:
            try:
                return [e["message"] for e in self.client("logs").filter_log_events(logGroupName=group)["events"]][-40:]
            except ClientError as error:
                return [str(error)]

        return lines

    def follow(self, project: Project, execution: str, expected: str = "Succeeded") -> dict[str, dict[str, Any]]:
        """Wait for an execution to end, printing a line per finished step; return the steps by name.

        Raises ScenarioFailed if its status is not the expected one.
        """
        arn = {"PipelineExecutionArn": execution}
        finished: dict[str, dict[str, Any]] = {}
        steps: list[dict[str, Any]] = []
        with self.console.step(f"pipeline run {execution.rsplit('/', 1)[-1]}") as step:

            def ended() -> str | None:
                status = self.client("sagemaker").describe_pipeline_execution(**arn)["PipelineExecutionStatus"]
                steps[:] = self.client("sagemaker").list_pipeline_execution_steps(**arn)["PipelineExecutionSteps"]
                step.progress = lambda: self.progress_of(steps)
                for entry in sorted((entry for entry in steps if "EndTime" in entry), key=itemgetter("EndTime")):
                    if entry["StepName"] not in finished:
                        finished[entry["StepName"]] = entry
                        seconds = (entry["EndTime"] - entry["StartTime"]).total_seconds()
                        self.console.note(entry["StepName"], seconds, self.describe_step(entry))
                return status if status not in ("Executing", "Stopping") else None

            # Training may take hours: it is given up only if its log stands still.
            status = wait_until(ended, f"{execution} to end", progress=lambda: (len(finished), self.progress_of(steps)))
            step.result = status
            if status != expected:
                failed = next((entry for entry in finished.values() if entry["StepStatus"] == "Failed"), {})
                log = self.step_log(failed) if failed else []
                raise ScenarioFailed(f"execution {execution} is {status}: {failed.get('FailureReason', '')}", log)
        return finished

    def progress_of(self, steps: list[dict[str, Any]]) -> str:
        """Return the running steps, each with the last line of its log."""
        running = [step for step in steps if step["StepStatus"] == "Executing"]
        return "; ".join(f"{step['StepName']}: {(self.step_log(step, 1) or [''])[-1][:50]}" for step in running)

    def step_log(self, step: dict[str, Any], most: int = 40) -> list[str]:
        for kind, metadata in step.get("Metadata", {}).items():
            name = metadata.get("Arn", "").rsplit("/", 1)[-1]
            if kind == "TuningJob":
                kind, name = "TrainingJob", self.telling_trial(name)
            if kind in ("TrainingJob", "ProcessingJob"):
                return self.log_lines(f"/aws/sagemaker/{kind}s", f"{name}/algo-1", most)
        return []

    def telling_trial(self, tuning: str) -> str:
        """Return the name of the tuning's most informative training job: one that failed, or else the newest."""
        trials = self.client("sagemaker").list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=tuning, SortBy="CreationTime", SortOrder="Descending"
        )["TrainingJobSummaries"]
        failed = [trial for trial in trials if trial["TrainingJobStatus"] == "Failed"]
        return next((trial["TrainingJobName"] for trial in (*failed, *trials)), "")

    def describe_step(self, step: dict[str, Any]) -> str:
        """Return the result of a finished step in a few words."""
        metadata = step.get("Metadata", {})
        if "CacheHitResult" in step:
            return "taken from the cache"
        if "Condition" in metadata:
            return f"passed: {metadata['Condition']['Outcome']}"
        if "RegisterModel" in metadata:
            return metadata["RegisterModel"]["Arn"].split("model-package/")[1]
        if step["StepStatus"] == "Failed":
            return f"Failed: {step['FailureReason']}"
        if "TuningJob" in metadata and step["StepStatus"] == "Succeeded":
            return describe_tuning(self.tuning_of(step))
        lines = [line for line in self.step_log(step) if re.search(r": \d|\d\.\d\d", line)]
        return lines[-1][:90] if lines else step["StepStatus"]

    def tuning_of(self, step: dict[str, Any]) -> dict[str, Any]:
        """Return the description of a step's tuning job."""
        name = step["Metadata"]["TuningJob"]["Arn"].rsplit("/", 1)[-1]
        return self.client("sagemaker").describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)

    def training_job(self, steps: dict[str, dict[str, Any]]) -> str:
        """Return the name of the training job whose model the execution evaluated: Train's, or the best of Tune's."""
        if "Tune" in steps:
            return self.tuning_of(steps["Tune"])["BestTrainingJob"]["TrainingJobName"]
        return steps["Train"]["Metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[-1]

    def tell_interruption(self, steps: dict[str, dict[str, Any]]) -> None:
        """Report what a spot interruption cost, from the log of the interrupted training job.

        Raises ScenarioFailed if the job was not interrupted, or did not resume from a checkpoint.
        """
        with self.console.step("spot interruption") as step:
            name = self.training_job(steps)
            job = self.client("sagemaker").describe_training_job(TrainingJobName=name)
            log = self.log_lines("/aws/sagemaker/TrainingJobs", f"{name}/algo-1", MAX_LOG_LINES)
            if "Interrupted" not in [entry["Status"] for entry in job["SecondaryStatusTransitions"]]:
                hint = "It ended before it could be: give it more to do with [training] epochs."
                raise ScenarioFailed(f"training job {name} was not interrupted", log, hint)
            step.result = describe_interruption(log)

    # --- model ---------------------------------------------------------------------------------------------------

    def registered(self, project: Project, steps: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return the model package that an execution registered, with its metrics under "figures"."""
        sagemaker = self.client("sagemaker")
        with self.console.step("model package") as step:
            arn = steps["Register"]["Metadata"]["RegisterModel"]["Arn"]
            found = sagemaker.describe_model_package(ModelPackageName=arn)
            found["figures"] = self.figures(found)
            figures = ", ".join(f"{name} {value:.3f}" for name, value in found["figures"].items())
            step.result = f"version {found['ModelPackageVersion']}, {found['ModelApprovalStatus']}: {figures}"
        return found

    def figures(self, model_package: dict[str, Any]) -> dict[str, float]:
        """Return the metrics that the registry has for a model package."""
        metrics = self.read_json(model_package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"])
        return {name: metrics["metrics"][name] for name in ("accuracy", "macro_f1", "micro_f1")}

    def read_json(self, uri: str) -> Any:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return json.loads(self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())

    def fetch_plots(self, model_package: dict[str, Any], steps: dict[str, dict[str, Any]]) -> Path:
        """Download the plots of training and evaluation, and return their folder."""
        target = STATE / self.variant
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        uri = model_package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].removeprefix("s3://")
        bucket, _, key = uri.partition("/")
        s3 = self.client("s3")
        for found in s3.list_objects_v2(Bucket=bucket, Prefix=key.rsplit("/", 1)[0])["Contents"]:
            (target / found["Key"].rsplit("/", 1)[1]).write_bytes(
                s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
            )
        job = self.training_job(steps)
        output = self.client("sagemaker").describe_training_job(TrainingJobName=job)["OutputDataConfig"]["S3OutputPath"]
        key = f"{output.removeprefix(f's3://{bucket}/')}/{job}/output/output.tar.gz"
        with tarfile.open(fileobj=BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())) as archive:
            archive.extractall(target, filter="data")
        return target

    def approve(self, project: Project, model_package: dict[str, Any]) -> None:
        """Approve a model version and wait until the staging stack deploys it. Raises ScenarioFailed if that fails."""
        with self.console.step("approve, deploy to staging") as step:
            self.client("sagemaker").update_model_package(
                ModelPackageArn=model_package["ModelPackageArn"], ModelApprovalStatus="Approved"
            )
            stack_name = f"sagemaker-{project.id}-staging"
            cloudformation = self.client("cloudformation")

            # The stack's id once it is known: by its name, a deleted stack is not found.
            known: list[str] = []

            def deployed() -> dict[str, Any] | None:
                try:
                    stack = cloudformation.describe_stacks(StackName=(known or [stack_name])[0])["Stacks"][0]
                except ClientError:
                    return None
                known[:] = [stack["StackId"]]
                step.progress = lambda: stack["StackStatus"]
                if any(word in stack["StackStatus"] for word in ("ROLLBACK", "FAILED", "DELETE")):
                    raise ScenarioFailed(f"stack {stack_name} is {stack['StackStatus']}", self.stack_events(known))
                package = {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}["ModelPackageArn"]
                ended = stack["StackStatus"].endswith("COMPLETE") and package == model_package["ModelPackageArn"]
                return stack if ended else None

            wait_until(deployed, f"stack {stack_name}")
            step.result = f"{project.endpoint} is {self.client('sagemaker').describe_endpoint(EndpointName=project.endpoint)['EndpointStatus']}"

    def predict(self, project: Project, payload: bytes, content_type: str, shown: str) -> None:
        with self.console.step("prediction") as step:
            answer = self.client("sagemaker-runtime").invoke_endpoint(
                EndpointName=project.endpoint, ContentType=content_type, Body=payload
            )
            best = json.loads(answer["Body"].read())[0]
            said = [best["label"]] if "label" in best else best["labels"]
            step.result = f"{shown} -> " + (
                ", ".join(f"{name} ({best['scores'][name]:.2f})" for name in said) or "none"
            )

    # --- notices -------------------------------------------------------------------------------------------------

    def listen(self, project: Project) -> None:
        """Subscribe to the project's notices, with a queue in place of a mailbox."""
        topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:sagemaker-{project.id}-notices"
        self.mailbox = Mailbox(self.emulator, topic, f"mailbox-of-{project.name}")

    def read_notice(self, about: str) -> None:
        """Wait for a notice that contains the given text."""
        with self.console.step("notice of a failed build") as step:

            def told() -> str | None:
                texts = [notice["Message"].strip('"') for notice in self.mailbox.read()]
                return next((text for text in texts if about in text), None)

            step.result = wait_until(told, f"a notice that says {about}")

    # --- the end -------------------------------------------------------------------------------------------------

    def delete_project(self, project: Project) -> None:
        """Delete the project. Raises ScenarioFailed if that fails, or if anything of the project is left."""
        sagemaker = self.client("sagemaker")
        with self.console.step("delete the project") as step:
            sagemaker.delete_project(ProjectName=project.name)

            def gone() -> bool:
                found = [p for p in sagemaker.list_projects()["ProjectSummaryList"] if p["ProjectName"] == project.name]
                if found and found[0]["ProjectStatus"] == "DeleteFailed":
                    raise ScenarioFailed(f"project {project.name} could not be deleted", self.stack_events())
                return not found

            wait_until(gone, f"project {project.name} to go")
            left = leftovers(self.emulator, project.id)
            if left:
                raise ScenarioFailed(f"deleting {project.name} left: {', '.join(left)}")
            step.result = "nothing is left: no stack, bucket, repository, pipeline, model, endpoint or role"


def leftovers(emulator: Emulator, project_id: str) -> list[str]:
    """Return the names of the account's resources that contain the project's id."""
    sagemaker = emulator.client("sagemaker")
    found = [stack["StackName"] for stack in emulator.client("cloudformation").describe_stacks()["Stacks"]]
    found += [bucket["Name"] for bucket in emulator.client("s3").list_buckets()["Buckets"]]
    found += [r["repositoryName"] for r in emulator.client("codecommit").list_repositories()["repositories"]]
    found += [p["PipelineName"] for p in sagemaker.list_pipelines()["PipelineSummaries"]]
    found += [g["ModelPackageGroupName"] for g in sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]]
    found += [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]]
    found += [m["ModelName"] for m in sagemaker.list_models()["Models"]]
    found += [role["RoleName"] for role in emulator.client("iam").list_roles()["Roles"]]
    found += [f["FunctionName"] for f in emulator.client("lambda").list_functions()["Functions"]]
    found += [rule["Name"] for rule in emulator.client("events").list_rules()["Rules"]]
    found += emulator.client("sqs").list_queues().get("QueueUrls", [])
    found += emulator.client("codebuild").list_projects()["projects"]
    return [name for name in found if project_id in name]


def describe_tuning(tuning: dict[str, Any]) -> str:
    """Return the result of a tuning job in a few words."""
    best, counted = tuning["BestTrainingJob"], sum(tuning["TrainingJobStatusCounters"].values())
    metric = best["FinalHyperParameterTuningJobObjectiveMetric"]
    chosen = ", ".join(f"{name} {float(value):.3g}" for name, value in best["TunedHyperParameters"].items())
    return f"best of {counted}: {metric['MetricName']} {metric['Value']:.2f} with {chosen}"


def describe_interruption(log: list[str]) -> str:
    """Return at which step a training job was interrupted and resumed, from what train.py printed in both containers.

    Raises ScenarioFailed if the log does not show two containers, or if the second one found no checkpoint.
    """
    starts = [number for number, line in enumerate(log) if BEGINS.match(line)]
    if len(starts) != 2:
        raise ScenarioFailed(f"the log shows {len(starts)} containers, where an interrupted job has 2", log)
    before, after = log[starts[0] : starts[1]], log[starts[1] :]
    resumed = int(BEGINS.match(after[0])[1] or 0)
    saved = [int(found[1]) for line in before if (found := SAVED.match(line))]
    reached = [int(found[1]) for line in before if (found := PROGRESS.match(line))]
    total = next((f" of {found[2]}" for line in log if (found := PROGRESS.match(line))), "")
    if not resumed:
        raise ScenarioFailed("the interrupted job found no checkpoint and began anew", log)
    if not saved:  # train.py saved nothing on SIGTERM: it resumed from its last periodic checkpoint
        reached_step = max([*reached, resumed])
        return (
            f"SIGKILL after step {reached_step}{total}; resumed at step {resumed}: {reached_step - resumed} steps lost"
        )
    return f"SIGTERM at step {saved[-1]}{total}; resumed at step {resumed}: {saved[-1] - resumed} steps lost"


def wait_for_stack(cloudformation: Any, name: str) -> dict[str, Any]:
    """Wait until a stack's operation has ended, and return the stack. Raises ScenarioFailed if it failed."""

    def ended() -> dict[str, Any] | None:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

    stack = wait_until(ended, f"stack {name}")
    if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        log = [f"{e['LogicalResourceId']} {e['ResourceStatus']}: {e.get('ResourceStatusReason', '')}" for e in events]
        raise ScenarioFailed(f"stack {name} is {stack['StackStatus']}", [line for line in log if "FAILED" in line])
    return stack


def wait_until(
    look: Callable[[], Any],
    what: str,
    seconds: float = MAX_SECONDS,
    hint: Callable[[], list[str]] | None = None,
    progress: Callable[[], object] | None = None,
) -> Any:
    """Poll `look()` until it returns something truthy, and return that.

    Raises ScenarioFailed after `seconds`, with the log lines of `hint`; if `progress()` changes, the time starts again.
    """
    seen = progress() if progress else None
    deadline = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() >= deadline:
            before, seen = seen, progress() if progress else None
            if seen == before:
                raise ScenarioFailed(f"gave up waiting for {what}", hint() if hint else [])
            deadline = time.monotonic() + seconds
        time.sleep(POLL_SECONDS)
