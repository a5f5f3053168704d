"""Emulate training and processing jobs: download their inputs, run their entrypoint, upload their results."""

import contextlib
import os
import re
import subprocess
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from rehearsal.aws import adapter, containers, objects, processes, vpc
from rehearsal.aws.instances import Instance, require_playable, resources_of
from rehearsal.aws.protocol import AwsError, Caller, not_emulated, now, page, public, short_id

STOP_GRACE_SECONDS = 120  # between SIGTERM and SIGKILL, as on AWS
# Billable share of spot seconds in the emulator. Real prices vary; the CV original paid 26.5 % (9.78 against 2.59 USD).
BILLED_SPOT_SHARE = 0.3
# How long an interrupted job waits for its next instances.
CAPACITY_RETURNS_SECONDS = 1
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# What a script prints once it trains; an interruption waits for that, since before there is nothing to interrupt.
UNDER_WAY = re.compile(r"(?<!starting at )step |epoch=")
ENDED = ("Completed", "Failed", "Stopped", "MaxRuntimeExceeded")
STATUS_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training in progress",
    "Interrupted": "The spot instance was taken away",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job exceeded its maximum runtime",
}
KINDS = {"training": "TrainingJob", "processing": "ProcessingJob", "tuning": "HyperParameterTuningJob"}
KIND_ARNS = {"training": "training-job", "processing": "processing-job", "tuning": "hyper-parameter-tuning-job"}
TOOLKIT = Path(__file__).parent.parent / "toolkit.py"


class JobFailed(Exception):
    """Raised when a job fails; the message becomes its failure reason."""


class TimeLimitExceeded(JobFailed):
    """Raised when a job has run for its MaxRuntimeInSeconds."""


class Jobs:
    """The API operations on training and processing jobs."""

    jobs: dict[str, dict[str, dict[str, Any]]]
    interruptions: list[str]
    folder: Path

    def start_jobs(self) -> None:
        self.jobs = {kind: {} for kind in KINDS}
        self.interruptions = []

    def create_training_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        self.check_training(parameters, parameters.get("HyperParameters", {}))
        return {"TrainingJobArn": self.create_job("training", parameters, caller)["TrainingJobArn"]}

    def check_training(self, parameters: dict[str, Any], hyperparameters: dict[str, str]) -> None:
        """Raise AwsError for a training job, or a tuning job's definition of one, that is invalid or not emulated."""
        stopping = parameters["StoppingCondition"]
        spot = parameters.get("EnableManagedSpotTraining", False)
        if spot and stopping.get("MaxWaitTimeInSeconds", 0) < stopping.get("MaxRuntimeInSeconds", 86400):
            raise AwsError(
                "ValidationException", "MaxWaitTimeInSeconds must be at least MaxRuntimeInSeconds with managed spot"
            )
        if not spot and "MaxWaitTimeInSeconds" in stopping:
            raise AwsError("ValidationException", "MaxWaitTimeInSeconds is only for managed spot training")
        if (
            "ContainerEntrypoint" not in parameters["AlgorithmSpecification"]
            and "sagemaker_program" not in hyperparameters
        ):
            raise not_emulated("training with neither a ContainerEntrypoint nor a sagemaker_program")

    def create_processing_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if "ContainerEntrypoint" not in parameters["AppSpecification"]:
            raise not_emulated("processing without a ContainerEntrypoint")
        return {"ProcessingJobArn": self.create_job("processing", parameters, caller)["ProcessingJobArn"]}

    def create_job(self, kind: str, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Check a job's name and permissions, and start it. Raises AwsError, or AccessDenied."""
        name = parameters[f"{KINDS[kind]}Name"]
        if name in self.jobs[kind]:
            raise AwsError("ResourceInUse", f"Job {name} already exists")
        may_start(kind, parameters, parameters, caller)
        return self.start_job(kind, parameters)

    def start_job(self, kind: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Record a job, run it on a thread of its own, and return the record."""
        name = parameters[f"{KINDS[kind]}Name"]
        record = {
            **parameters,
            f"{KINDS[kind]}Arn": arn_of(kind, name),
            f"{KINDS[kind]}Status": "InProgress",
            "CreationTime": now(),
            "LastModifiedTime": now(),
            **({"SecondaryStatus": "Starting"} if kind == "training" else {}),
            "kind": kind,
            "metrics": {},
            "ended": threading.Event(),
            "stop": threading.Event(),
            "reclaim": threading.Event(),
        }
        self.jobs[kind][name] = record
        self.grant_interruptions()
        adapter.in_background(Run(record, self.folder / "jobs" / name).run)
        return record

    def job(self, kind: str, name: str) -> dict[str, Any]:
        if name not in self.jobs[kind]:
            raise AwsError("ValidationException" if kind == "training" else "ResourceNotFound", f"Job {name} not found")
        return self.jobs[kind][name]

    def describe_training_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.job("training", parameters["TrainingJobName"]))

    def describe_processing_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.job("processing", parameters["ProcessingJobName"]))

    def list_training_jobs(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return self.list_jobs("training", parameters)

    def list_processing_jobs(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return self.list_jobs("processing", parameters)

    def list_jobs(self, kind: str, parameters: dict[str, Any]) -> dict[str, Any]:
        name = KINDS[kind]
        keys = (f"{name}Name", f"{name}Arn", f"{name}Status", "CreationTime", "LastModifiedTime")
        # Members of only one kind of job; those that a job gets at its end are absent until then.
        later = {
            "training": ("TrainingEndTime", "SecondaryStatus"),
            "processing": ("ProcessingEndTime", "FailureReason", "ExitMessage"),
        }
        found = [
            {key: job[key] for key in (*keys, *later[kind]) if key in job} for job in list(self.jobs[kind].values())
        ]
        return page(found, parameters, f"{name}Summaries")

    def stop_training_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return self.stop_job("training", parameters["TrainingJobName"])

    def stop_processing_job(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return self.stop_job("processing", parameters["ProcessingJobName"])

    def stop_job(self, kind: str, name: str) -> dict[str, Any]:
        job = self.job(kind, name)
        status = job[f"{KINDS[kind]}Status"]
        if job["ended"].is_set():
            message = f"The request was rejected because the {kind} job is in status {status}."
            raise AwsError("ValidationException", message)
        job["stop"].set()
        return {}

    def interrupt(self, name_contains: str) -> None:
        """Interrupt a training job once, as spot does. This is the emulator's own API: AWS has none.

        It is the first managed spot training job, running or future, whose name contains the given text.
        """
        self.interruptions.append(name_contains)
        self.grant_interruptions()

    def grant_interruptions(self) -> None:
        for name_contains in list(self.interruptions):
            for name, job in list(self.jobs["training"].items()):
                running = job["TrainingJobStatus"] == "InProgress"
                if name_contains in name and running and job.get("EnableManagedSpotTraining"):
                    self.interruptions.remove(name_contains)
                    job["reclaim"].set()
                    break

    def list_tags(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        for kind, jobs in self.jobs.items():
            for job in jobs.values():
                if parameters["ResourceArn"] == job[f"{KINDS[kind]}Arn"]:
                    return page(job.get("Tags", []), parameters, "Tags")
        return page(self.tags.get(parameters["ResourceArn"], []), parameters, "Tags")


class Run:
    """Runs one job on its instances, from the download of its inputs to the upload of its results."""

    def __init__(self, record: dict[str, Any], folder: Path):
        self.record = record
        self.kind = record["kind"]
        self.name = record[f"{KINDS[self.kind]}Name"]
        self.folder = folder
        count = resources_of(record)["InstanceCount"]
        self.instances = [Instance(folder, number, count) for number in range(count)]
        self.failed: Instance | None = None  # the first instance whose container failed
        self.group = f"/aws/sagemaker/{KINDS[self.kind]}s"
        self.reclaimed = threading.Event()
        self.interrupted = False
        self.grace_seconds = STOP_GRACE_SECONDS
        self.seconds = 0.0  # that the containers ran; waiting for instances does not count

    def emit(self, instance: Instance, lines: list[str]) -> None:
        adapter.write_log(self.group, self.stream(instance), lines)
        if self.record["reclaim"].is_set() and any(UNDER_WAY.match(line) for line in lines):
            self.record["reclaim"].clear()
            self.reclaimed.set()
        self.read_metrics(lines)

    def stream(self, instance: Instance) -> str:
        """Return the name of the log stream of an instance's container."""
        return f"{self.name}/{instance.name}"

    def read_metrics(self, lines: list[str]) -> None:
        """Record the values that the job's metric definitions find in log lines, ignoring what is not a number."""
        definitions = self.record.get("AlgorithmSpecification", {}).get("MetricDefinitions")
        if not definitions:
            return
        for metric in definitions:
            for found in filter(None, (re.search(metric["Regex"], line) for line in lines)):
                if NUMBER.fullmatch(found[1]):
                    self.record["metrics"].setdefault(metric["Name"], []).append(float(found[1]))
        self.record["FinalMetricDataList"] = [
            {"MetricName": name, "Value": values[-1], "Timestamp": now()}
            for name, values in self.record["metrics"].items()
        ]

    def run(self) -> None:
        status_key = f"{KINDS[self.kind]}Status"
        reason = ""
        try:
            self.credentials = adapter.credentials_of(
                self.record["RoleArn"], "SageMaker", "sagemaker.amazonaws.com", arn_of(self.kind, self.name)
            )
            self.s3 = adapter.client("s3", self.credentials)
            for instance in self.instances:
                instance.make()
            status = self.train() if self.kind == "training" else self.process()
        except JobFailed as error:
            status, reason = "Failed", f"AlgorithmError: {error}"
        except Exception as error:
            status, reason = "Failed", f"ClientError: {error}"
            self.emit(self.instances[0], traceback.format_exc().splitlines())
        finally:
            containers.remove(self.folder)
        if reason:
            self.record["FailureReason"] = reason[:1024]
            if self.kind == "processing":
                self.record["ExitMessage"] = reason[:1024]
        self.record["LastModifiedTime"] = now()
        self.record.setdefault("TrainingEndTime" if self.kind == "training" else "ProcessingEndTime", now())
        if self.kind == "training":
            self.enter(status)  # MaxRuntimeExceeded is a secondary status: its primary one is Stopped
        self.record[status_key] = "Stopped" if status == "MaxRuntimeExceeded" else status
        self.record["ended"].set()

    # --- training ----------------------------------------------------------------------------------------------

    def train(self) -> str:
        """Run the containers, again after each interruption, upload what they leave, and return the secondary status.

        Raises JobFailed. https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training-status.html lists
        the statuses. A job that reaches its time limit is Stopped, not Failed, and keeps the model that it saved after
        SIGTERM: SecondaryStatus in API_DescribeTrainingJob, API_StoppingCondition.
        """
        record, exceeded = self.record, False
        try:
            codes = self.train_on_instances()
            while self.interrupted and not record["stop"].is_set():
                self.wait_for_instances()
                codes = self.train_on_instances()
        except TimeLimitExceeded:
            exceeded = True
        prefix = f"{record['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self.name}/output"
        key = record["OutputDataConfig"].get("KmsKeyId", "")
        self.enter("Uploading")
        outputs = [instance.ml / "output/data" for instance in self.instances]
        if any(any(output.iterdir()) for output in outputs if output.exists()):
            objects.upload_archive(self.s3, outputs, f"{prefix}/output.tar.gz", key)
        if record["stop"].is_set():
            return "Stopped"
        if not exceeded:
            self.check_exit(codes)
        models = [instance.ml / "model" for instance in self.instances]
        objects.upload_archive(self.s3, models, f"{prefix}/model.tar.gz", key)
        record["ModelArtifacts"] = {"S3ModelArtifacts": f"{prefix}/model.tar.gz"}
        return "MaxRuntimeExceeded" if exceeded else "Completed"

    def train_on_instances(self) -> list[int]:
        """Download the data, and run the containers until they end or are interrupted. Return their exit codes."""
        self.enter("Starting")
        self.interrupted = False
        self.reclaimed.clear()
        self.enter("Downloading")
        for instance in self.instances:
            self.bring_in(instance)
        checkpoints = [self.restore_checkpoints(instance) for instance in self.instances]
        self.enter("Training")
        self.record.setdefault("TrainingStartTime", now())
        environment = {**self.record.get("Environment", {}), "TRAINING_JOB_NAME": self.name}
        limit = self.record["StoppingCondition"]["MaxRuntimeInSeconds"] - self.seconds
        started = time.monotonic()
        try:
            return self.execute(self.entrypoint(), environment, limit)
        finally:
            self.seconds += time.monotonic() - started
            for sync in filter(None, checkpoints):
                sync.finish()
            self.note_time()

    def entrypoint(self) -> list[str]:
        """Return the containers' command: the job's own entrypoint, or the images' toolkit, which starts its script."""
        algorithm = self.record["AlgorithmSpecification"]
        if "ContainerEntrypoint" in algorithm:
            return algorithm["ContainerEntrypoint"] + algorithm.get("ContainerArguments", [])
        # The toolkit does not forward SIGTERM, so waiting for the script to end would only take the full 120 seconds.
        self.grace_seconds = 0
        return [os.environ["REHEARSAL_PYTHON"], str(TOOLKIT)]

    def bring_in(self, instance: Instance) -> None:
        """Set up an instance's /opt/ml: configuration, data, and the folders that the script writes to."""
        record = self.record
        channels = record.get("InputDataConfig", [])
        resources = instance.resource_config(record["ResourceConfig"]["InstanceType"])
        instance.write_config("input/config/hyperparameters", record.get("HyperParameters", {}))
        instance.write_config("input/config/resourceconfig", resources)
        instance.write_config(
            "input/config/inputdataconfig", {channel["ChannelName"]: described(channel) for channel in channels}
        )
        for channel in channels:
            source = channel["DataSource"]["S3DataSource"]
            folder = instance.ml / "input/data" / channel["ChannelName"]
            objects.download(self.s3, source["S3Uri"], folder, instance.part_of(source))
        for name in ("model", "output/data", "checkpoints"):
            (instance.ml / name).mkdir(parents=True)

    def note_time(self) -> None:
        """Record the training and billable seconds so far, over all interruptions, without the waits for instances."""
        self.record["TrainingEndTime"] = now()
        price = BILLED_SPOT_SHARE if self.record.get("EnableManagedSpotTraining") else 1
        seconds = max(1, round(self.seconds))
        self.record["TrainingTimeInSeconds"] = seconds
        self.record["BillableTimeInSeconds"] = max(1, round(seconds * price))

    def wait_for_instances(self) -> None:
        """Discard the instances with their disks, and wait until spot has new ones."""
        self.enter("Interrupted")
        containers.remove(self.folder)
        for instance in self.instances:
            instance.make()
        del self.record["TrainingEndTime"]
        self.record["stop"].wait(CAPACITY_RETURNS_SECONDS)

    def enter(self, status: str) -> None:
        """Record a secondary status, and the end of the one before it."""
        moment = now()
        # A new list each time, since another thread may be describing the job.
        before = [{"EndTime": moment, **entry} for entry in self.record.get("SecondaryStatusTransitions", [])]
        entry = {"Status": status, "StartTime": moment, "StatusMessage": STATUS_MESSAGES[status]}
        if status in ENDED:
            entry["EndTime"] = moment
        self.record["SecondaryStatusTransitions"] = [*before, entry]
        self.record["SecondaryStatus"] = status
        self.record["LastModifiedTime"] = moment

    def restore_checkpoints(self, instance: Instance) -> objects.CheckpointSync | None:
        """Download the checkpoints under the job's S3 URI, and start copying new ones there.

        Return the copier, whose finish() must be called; None without a CheckpointConfig.
        """
        config = self.record.get("CheckpointConfig")
        if not config:
            return None
        folder = instance.path(config.get("LocalPath", "/opt/ml/checkpoints"))
        try:
            objects.download(self.s3, config["S3Uri"], folder)
        except objects.NoObjects:
            pass
        return objects.CheckpointSync(self.s3, folder, config["S3Uri"])

    # --- processing --------------------------------------------------------------------------------------------

    def process(self) -> str:
        record = self.record
        outputs = [output["S3Output"] for output in record.get("ProcessingOutputConfig", {}).get("Outputs", [])]
        for instance in self.instances:
            self.bring_in_for_processing(instance, outputs)
        record["ProcessingStartTime"] = now()
        app = record["AppSpecification"]
        limit = record.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 86400)
        codes = self.execute(
            app["ContainerEntrypoint"] + app.get("ContainerArguments", []), record.get("Environment", {}), limit
        )
        if record["stop"].is_set():
            return "Stopped"
        self.check_exit(codes)
        key = record.get("ProcessingOutputConfig", {}).get("KmsKeyId", "")
        for instance in self.instances:
            for output in outputs:
                objects.upload(self.s3, instance.path(output["LocalPath"]), output["S3Uri"], key)
        return "Completed"

    def bring_in_for_processing(self, instance: Instance, outputs: list[dict[str, Any]]) -> None:
        """Set up an instance's /opt/ml as the request says: inputs, folders for outputs, configuration."""
        record = self.record
        for given in record.get("ProcessingInputs", []):
            source = given["S3Input"]
            folder = instance.path(source["LocalPath"])
            objects.download(self.s3, source["S3Uri"], folder, instance.part_of(source))
        for output in outputs:
            instance.path(output["LocalPath"]).mkdir(parents=True, exist_ok=True)
        resources = instance.resource_config(resources_of(record)["InstanceType"])
        instance.write_config("config/resourceconfig", resources)
        instance.write_config("config/processingjobconfig", public_request(record))

    # --- training and processing -------------------------------------------------------------------------------

    def execute(self, entrypoint: list[str], environment: dict[str, str], limit_seconds: float) -> list[int]:
        """Run the entrypoint on every instance until all end or `watch` ends them, and return their exit codes.

        Raises TimeLimitExceeded.
        """
        network, relays, credentials = network_of(self.record), None, self.credentials
        if network.get("EnableNetworkIsolation"):  # only calls between the job's instances (API_CreateTrainingJob)
            relays, credentials = [], None
        elif network.get("VpcConfig") or len(self.instances) > 1:  # AWS, but not the internet
            relays = [containers.relay_to_aws()]
        surroundings = {**processes.job_environment(credentials), **environment}
        with contextlib.ExitStack() as after:
            cluster = None
            if len(self.instances) > 1:
                cluster = containers.Cluster(self.folder, self.instances[0].hosts)
                after.callback(cluster.end)
            running = {
                instance: containers.start(
                    entrypoint, surroundings, instance.folder, partial(self.emit, instance), relays, cluster
                )
                for instance in self.instances
            }
            watcher = threading.Thread(target=self.watch, args=(running,), daemon=True)
            watcher.start()
            deadline = time.monotonic() + limit_seconds
            try:
                codes = [processes.wait(process, max(0, deadline - time.monotonic())) for process in running.values()]
            except subprocess.TimeoutExpired:
                processes.end(running.values(), self.grace_seconds)
                raise TimeLimitExceeded("it reached MaxRuntimeInSeconds") from None
            watcher.join()
        return codes

    def watch(self, running: dict[Instance, subprocess.Popen]) -> None:
        """End all containers when the job is stopped, spot takes its instances away, or one container fails."""
        while alive := [process for process in running.values() if process.poll() is None]:
            taken = self.record["stop"].wait(0.2) or self.reclaimed.is_set()
            self.failed = next((instance for instance, process in running.items() if process.poll()), None)
            if taken or self.failed:
                self.interrupted = taken and not self.failed and any(process.poll() is None for process in alive)
                left = [process for process in alive if process.poll() is None]
                processes.end(left, 0 if self.failed else self.grace_seconds)
                return

    def check_exit(self, codes: list[int]) -> None:
        """Raise JobFailed if an exit code is not 0, with the reason that the first failed container left, if any."""
        failed = [(instance, code) for instance, code in zip(self.instances, codes, strict=True) if code]
        if not failed:
            return
        instance, code = next((each for each in failed if each[0] is self.failed), failed[0])
        if reason := instance.failure():
            raise JobFailed(f"{reason} (exit code {code})")
        raise JobFailed(f"exit code {code}; see log group {self.group}, stream {self.stream(instance)}")


def described(channel: dict[str, Any]) -> dict[str, str]:
    """Return a channel's entry in inputdataconfig.json.

    docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
    """
    distribution = channel["DataSource"]["S3DataSource"].get("S3DataDistributionType", "FullyReplicated")
    content = {"ContentType": channel["ContentType"]} if "ContentType" in channel else {}
    return {**content, "TrainingInputMode": "File", "S3DistributionType": distribution, "RecordWrapperType": "None"}


def public_request(record: dict[str, Any]) -> dict[str, Any]:
    """Return the request of a processing job as its container reads it in processingjobconfig.json.

    docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
    """
    names = ("AppSpecification", "Environment", "ProcessingInputs", "ProcessingJobName", "ProcessingOutputConfig",
             "ProcessingResources", "RoleArn", "StoppingCondition")  # fmt: skip
    return {name: record[name] for name in names if name in record}


def arn_of(kind: str, name: str) -> str:
    """Return the ARN of a job."""
    return f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:{KIND_ARNS[kind]}/{name}"


def may_start(kind: str, request: dict[str, Any], job: dict[str, Any], caller: Caller) -> None:
    """Raise an error if the job cannot run here, or if the caller or the job's role lacks a permission for it.

    `job` has the job's role, network and resources: the request itself, or a tuning job's TrainingJobDefinition.
    """
    require_playable(job)
    caller.pass_role(job["RoleArn"], "sagemaker.amazonaws.com")
    may_tag(kind, request, caller)
    vpc.join(network_of(job).get("VpcConfig"), job["RoleArn"])
    check_disk_key(job)


def may_tag(kind: str, job: dict[str, Any], caller: Caller) -> None:
    """Raise AccessDenied unless the caller may tag the job, which takes a permission of its own in SageMaker."""
    if tags := job.get("Tags"):
        arn = arn_of(kind, job[f"{KINDS[kind]}Name"])
        caller.may("sagemaker:AddTags", arn, {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in tags})


def check_disk_key(job: dict[str, Any]) -> None:
    """Raise ValidationException unless the job's role may use the KMS key of its storage volume.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html lists the permissions that the role needs.
    """
    if key := resources_of(job).get("VolumeKmsKeyId"):
        access_key = adapter.credentials_of(job["RoleArn"], "SageMaker", "sagemaker.amazonaws.com")["AWS_ACCESS_KEY_ID"]
        try:
            adapter.caller_may(access_key, "kms:DescribeKey", key)
            adapter.caller_may(access_key, "kms:CreateGrant", key, {"kms:GrantIsForAWSResource": "true"})
        except adapter.AccessDenied as denied:
            raise AwsError("ValidationException", f"The role cannot use the key of the disk. {denied}") from denied


def network_of(job: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a job's request that has VpcConfig and EnableNetworkIsolation."""
    return job.get("NetworkConfig", job)


def job_name(kind: str, execution_id: str, step: str) -> str:
    """Return a name for a step's job as Pipelines forms it.

    AWS does not document the form for tuning jobs, whose names have at most 32 characters.
    """
    if kind == "tuning":
        return f"{execution_id}-{step[:7]}-{short_id(10)}"
    return f"pipelines-{execution_id}-{step[:24]}-{short_id(10)}"
