"""A project that makes the same AWS calls as a real one but does no other work: seconds from template to endpoint.

Templates, functions, pipeline definition and deployment template are the bundle's. Only the repository is a small one:
its build publishes the committed definition, and its jobs write a few small files.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from build import ROOT
from build.assemble import assemble
from build.package import Package, package, zipped
from rehearsal.loopback import git_credentials
from rehearsal.notices import Mailbox
from rehearsal.server import ACCOUNT, REGION, Emulator

BUILD = """version: 0.2
phases:
  build:
    commands:
      - python publish.py
"""
PUBLISH = """
import json, os, re, boto3
text = open("pipeline.json").read()
if os.environ["PUBLISH"] != "true":
    raise SystemExit
bucket, number, name = (os.environ[f"PROJECT_{key}"] for key in ("BUCKET", "ID", "NAME"))
for old, new in (
    ("sagemaker-p-example-111122223333", bucket),
    ("example-p-example", os.environ["PROJECT_MODEL_GROUP"]),
    ("arn:aws:iam::111122223333:role/sagemaker-p-example-pipeline", os.environ["PIPELINE_ROLE_ARN"]),
    ("p-example", number),
    ('"example"', json.dumps(name)),
):
    text = text.replace(old, new)
subnets, groups = (os.environ[f"PROJECT_{key}"] for key in ("SUBNET_IDS", "SECURITY_GROUP_IDS"))
network = {"EnableNetworkIsolation": os.environ["PROJECT_NETWORK_ISOLATION"] == "true"}
if subnets:
    network["VpcConfig"] = {"Subnets": subnets.split(","), "SecurityGroupIds": groups.split(",")}
definition = json.loads(text)
for step in definition["Steps"]:
    if step["Type"] == "Training":
        step["Arguments"].update(network)
    elif step["Type"] == "Processing":
        step["Arguments"]["NetworkConfig"] = network
        if key := os.environ["PROJECT_KMS_KEY_ARN"]:
            step["Arguments"]["ProcessingResources"]["ClusterConfig"]["VolumeKmsKeyId"] = key
text = json.dumps(definition)
s3 = boto3.client("s3")
s3.list_objects_v2(Bucket=bucket, Prefix="code/")
for prefix in set(re.findall(r"(?:code|deploy|sample)/[0-9a-f]{20}", text)):
    for file in {"c": ["spotkit/jobs/start.py"], "d": ["endpoint.yaml", "staging.json"], "s": ["README.md"]}[prefix[0]]:
        s3.upload_file(file, bucket, f"{prefix}/{file}")
s3.put_object(Bucket=bucket, Key="pipeline/pipeline.json", Body=text.encode())
"""
START = '''
import json, os, sys
from pathlib import Path
ml, script = Path(os.environ.get("OPT_ML", "/opt/ml")), sys.argv[1]
INFERENCE = """
import json, socket
def model_fn(folder): return "model"
def input_fn(body, kind): return json.loads(body)
def predict_fn(rows, model): return [{"label": model, "reached": reaches(row)} for row in rows]
def reaches(row):
    try:
        socket.create_connection(("127.0.0.1", int(row)), timeout=5).close()
    except (OSError, ValueError):
        return False
    return True
def output_fn(found, accept): return json.dumps(found)
"""
def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
if script == "data.preprocess":
    for name in ("train", "validation", "test", "report"):
        write(ml / "processing/output" / name / "part.txt", name)
elif script == "training.train":
    write(ml / "model/code/inference.py", INFERENCE)
    write(ml / "checkpoints/step.txt", "1")
else:
    write(ml / "processing/output/evaluation/evaluation.json", json.dumps({"gate": {"value": 0.9, "drop": 0}}))
print(script, "done", flush=True)
'''


def small_package(bucket: str, changed: Callable[[str, str], str] = lambda name, text: text) -> Package:
    """Return the bundle's package with the small repository as its seed, and each template as changed(name, text).

    Keys stay as they were, although they are hashes of the original contents.
    """
    built = package(bucket)
    landed = assemble("nlp")
    files = {
        "README.md": b"small\n",
        "buildspec.yml": BUILD.encode(),
        "publish.py": PUBLISH.encode(),
        "spotkit/jobs/start.py": START.encode(),
        "pipeline.json": (ROOT / "pipeline_json/nlp.json").read_bytes(),
        "endpoint.yaml": landed["spotkit/deploy/endpoint.yaml"],
        "staging.json": landed["deploy/staging.json"],
    }
    for key in built.objects:
        if key.startswith("seeds/"):
            built.objects[key] = zipped(files)
    for key, name in ((built.projects["nlp"], "project.yaml"), (built.portfolio, "portfolio.yaml")):
        built.objects[key] = changed(name, built.objects[key].decode()).encode()
    return built


class Stuck(Exception):
    """The walk did not get past a step: it failed, or did not end in time."""


class Walk:
    """The life of a small project from creation to deletion, in which every role does what it does in a real project.

    `patience` is the longest wait for anything, in seconds.
    """

    def __init__(self, emulator: Emulator, name: str, patience: float = 25):
        self.emulator, self.name, self.patience = emulator, name, patience
        self.sagemaker, self.cloudformation = emulator.client("sagemaker"), emulator.client("cloudformation")
        self.id = ""

    @property
    def full_name(self) -> str:
        return f"{self.name}-{self.id}"

    def until(self, look: Callable[[], Any], what: str) -> Any:
        """Poll `look()` until it returns something truthy, and return that. Raise Stuck after `patience` seconds."""
        deadline = time.monotonic() + self.patience
        while not (found := look()):
            if time.monotonic() > deadline:
                raise Stuck(what)
            time.sleep(0.1)
        return found

    def create(self, launch_role: str, bucket: str, key: str, **parameters: str) -> None:
        """Create the project from the template in S3 and wait for it. Raise Stuck if that fails."""
        provider = {
            "TemplateName": "small",
            "TemplateURL": f"https://{bucket}.s3.{REGION}.amazonaws.com/{key}",
            "RoleARN": launch_role,
            "Parameters": [{"Key": name, "Value": value} for name, value in parameters.items()],
        }
        created = self.sagemaker.create_project(
            ProjectName=self.name, TemplateProviders=[{"CfnTemplateProvider": provider}]
        )
        self.id = created["ProjectId"]
        self.until(lambda: self.status() != "CreateInProgress", "the project to be created")
        if self.status() != "CreateCompleted":
            raise Stuck(f"creating the project: {self.status()}")

    def status(self) -> str:
        return self.sagemaker.describe_project(ProjectName=self.name)["ProjectStatus"]

    def build(self, expected: str = "SUCCEEDED") -> None:
        """Wait for the newest build to end. Raise Stuck if its status is not `expected`."""
        codebuild = self.emulator.client("codebuild")

        def ended() -> str | None:
            ids = codebuild.list_builds_for_project(projectName=f"sagemaker-{self.id}-build")["ids"]
            builds = codebuild.batch_get_builds(ids=ids)["builds"] if ids else []
            return builds and builds[0].get("endTime") and builds[0]["buildStatus"]

        if (status := self.until(ended, "a build")) != expected:
            raise Stuck(f"the build is {status}")

    def runs(self) -> list[dict[str, Any]]:
        """Return the pipeline's runs, newest first; none if there is no pipeline yet."""
        try:
            listed = self.sagemaker.list_pipeline_executions(PipelineName=self.full_name)
        except ClientError:
            return []
        return listed["PipelineExecutionSummaries"]

    def run(self) -> str:
        """Wait for the newest run to succeed; return the ARN of the model package that it registered."""

        def ended() -> str | None:
            found = self.runs()
            status = found and found[0]["PipelineExecutionStatus"]
            return status if status in ("Succeeded", "Failed") else None

        if (status := self.until(ended, "a pipeline run")) != "Succeeded":
            raise Stuck(f"the run is {status}")
        listed = self.sagemaker.list_model_packages(ModelPackageGroupName=self.full_name)
        return listed["ModelPackageSummaryList"][0]["ModelPackageArn"]

    def deploy(self, package_arn: str) -> None:
        """Approve a model package, wait for its endpoint and invoke it."""
        self.sagemaker.update_model_package(ModelPackageArn=package_arn, ModelApprovalStatus="Approved")
        endpoint = f"{self.full_name}-staging"

        def in_service() -> bool:
            try:
                return self.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "InService"
            except ClientError:
                return False

        self.until(in_service, "the endpoint")
        runtime = self.emulator.client("sagemaker-runtime")
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b'["x"]', ContentType="application/json")

    def push(self) -> None:
        """Push a commit to main, and wait for the build that the repository's event starts."""
        codecommit, codebuild = self.emulator.client("codecommit"), self.emulator.client("codebuild")
        project = f"sagemaker-{self.id}-build"
        before = len(codebuild.list_builds_for_project(projectName=project)["ids"])
        url = codecommit.get_repository(repositoryName=self.full_name)["repositoryMetadata"]["cloneUrlHttp"]
        with tempfile.TemporaryDirectory() as folder:
            self.git(folder, "clone", "--quiet", url, ".")
            (Path(folder) / "README.md").write_text("more\n")
            self.git(folder, "commit", "--quiet", "--all", "--message", "more")
            self.git(folder, "push", "--quiet", "origin", "main")
        self.until(
            lambda: len(codebuild.list_builds_for_project(projectName=project)["ids"]) > before, "the build of a push"
        )
        self.build()

    def git(self, folder: str, *arguments: str) -> None:
        options = [*git_credentials(Path(sys.executable)), "-c", "user.name=x", "-c", "user.email=x@y.z"]
        environment = {**os.environ, **self.emulator.environment(), "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(["git", *options, *arguments], cwd=folder, env=environment, capture_output=True, check=True)

    def listen(self) -> Mailbox:
        """Return a mailbox that receives the project's notices from now on."""
        return Mailbox(
            self.emulator, f"arn:aws:sns:{REGION}:{ACCOUNT}:sagemaker-{self.id}-notices", f"mailbox-{self.name}"
        )

    def refused(self) -> None:
        """Write an invalid definition to the bucket, and wait for the notice that it was refused."""
        mailbox = self.listen()
        bucket = f"sagemaker-{self.id}-{ACCOUNT}"
        self.emulator.client("s3").put_object(Bucket=bucket, Key="pipeline/pipeline.json", Body=b"{}")
        self.until(mailbox.read, "the notice of a refused definition")

    def why(self) -> str:
        """Return the newest failed event of the project's stack, as resource and reason."""
        events = self.cloudformation.describe_stack_events(StackName=f"SP-{self.id}")["StackEvents"]
        failed = [
            e for e in events if e["ResourceStatus"].endswith("FAILED") and e["LogicalResourceId"] != e["StackName"]
        ]
        return f"{failed[0]['LogicalResourceId']}: {failed[0].get('ResourceStatusReason')}" if failed else "no event"

    def delete(self) -> None:
        """Delete the project and wait until it is gone. Raise Stuck if it cannot be deleted."""
        self.sagemaker.delete_project(ProjectName=self.name)

        def gone() -> bool:
            found = [p for p in self.sagemaker.list_projects()["ProjectSummaryList"] if p["ProjectName"] == self.name]
            if found and found[0]["ProjectStatus"] == "DeleteFailed":
                raise Stuck(f"the project could not be deleted: {self.why()}")
            return not found

        self.until(gone, "the project to be gone")

    def whole(self, launch_role: str, bucket: str, key: str, **parameters: str) -> str:
        """Do all steps from creation to deletion; return where it got stuck, or "" if it did not."""
        try:
            self.create(launch_role, bucket, key, **parameters)
            self.build()
            self.deploy(self.run())
            self.push()
            self.refused()
            self.delete()
        except Stuck as stuck:
            return str(stuck)
        return ""


@dataclass(frozen=True)
class Statement:
    """The YAML text of one policy statement in a template, and its offset there."""

    text: str
    start: int


def statements(text: str) -> dict[str, Statement]:
    """Return every policy statement of a template's roles by Role/Sid.

    The template is read as text, with the layout of this repository, so that a statement can be cut out of it.
    """
    found = {}
    for role in re.finditer(r"(?m)^  (\w+):\n    Type: AWS::IAM::Role\n(?:(?:    .*)?\n)+", text):
        for statement in re.finditer(r"(?m)^( +)- Sid: (\w+)\n(?:\1  .*\n|\1 *#.*\n|\n)+", role.group(0)):
            place = role.start() + statement.start()
            found[f"{role.group(1)}/{statement.group(2)}"] = Statement(statement.group(0), place)
    return found
