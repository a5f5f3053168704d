"""Write this project's SageMaker pipeline definition to standard output.

    python pipeline.py > pipeline.json

    Preprocess -> Train (spot | on_demand | both to compare), or Tune -> Evaluate -> Gate -> Register, or Fail

Nothing is uploaded and no request is sent to AWS: equal inputs give the same bytes on any machine.
"""

import os

# The SDK reads these at import. The credentials are placeholders: no request is ever signed. ENVIRONMENT keeps the real
# variables.
ENVIRONMENT = dict(os.environ)
os.environ.update(
    AWS_DEFAULT_REGION="us-east-1",  # the SDK requires a region; the definition gets its own from Project
    AWS_ACCESS_KEY_ID="unused",
    AWS_SECRET_ACCESS_KEY="unused",
    AWS_EC2_METADATA_DISABLED="true",
    SAGEMAKER_VALIDATE_ROLE="false",  # otherwise the SDK has IAM simulate the role's policies
    SAGEMAKER_ADMIN_CONFIG_OVERRIDE=os.devnull,  # otherwise a file on this machine would change the result
    SAGEMAKER_USER_CONFIG_OVERRIDE=os.devnull,
)
for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
    os.environ.pop(name, None)

import gc
import json
import logging
import re
import sys
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

gc.disable()  # the program runs for two seconds; garbage collection would add another
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

from sagemaker.core import image_uris
from sagemaker.core.network import NetworkConfig
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter, ParameterRange
from sagemaker.core.processing import Processor
from sagemaker.core.shapes import ProcessingInput, ProcessingOutput, ProcessingS3Input, ProcessingS3Output
from sagemaker.core.telemetry import telemetry_logging
from sagemaker.core.training.configs import (
    CheckpointConfig,
    Compute,
    InputData,
    MetricDefinition,
    Networking,
    OutputDataConfig,
    StoppingCondition,
    Tag,
)
from sagemaker.core.workflow.conditions import ConditionGreaterThanOrEqualTo, ConditionLessThanOrEqualTo
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.mlops.workflow.steps import (
    CacheConfig,
    ConfigurableRetryStep,
    ProcessingStep,
    StepTypeEnum,
    TrainingStep,
    TuningStep,
)
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

from spotkit.definition import bundle
from spotkit import settings
from spotkit.training.tracking import METRICS

# Disable telemetry, which would look up the account's id. The SDK's own opt-out is slower: with it, every look-up of a
# default validates a configuration.
telemetry_logging._send_telemetry_request = lambda *event: None

HOUR = 3600
# Instance types with local NVMe disks, which are encrypted in hardware: SageMaker rejects a volume KMS key for them.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html
NVME = re.compile(r"ml\.(g4dn|g5|g6|g6e|p3dn|p4d|p4de|p5|p5e|p5en|trn1|trn1n|trn2|[cmr]\d[a-z]*d|i\d\w*)\.")
INFERENCE_INSTANCE_TYPES = ["ml.m5.large", "ml.m5.xlarge", "ml.c5.xlarge"]  # the inference image is for CPUs


@dataclass(frozen=True)
class Project:
    """What is fixed when the pipeline is built, and cannot be changed when it is started."""

    name: str
    id: str
    bucket: str
    model_group: str
    role: str
    region: str
    data_buckets: tuple[str, ...] = ()
    kms_key: str = ""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    isolated: bool = False

    @classmethod
    def from_environment(cls, environment: dict[str, str]) -> "Project":
        """Return the project of the build's variables; an example account's where they are unset, as on a laptop."""
        return cls(
            name=environment.get("PROJECT_NAME", "example"),
            id=environment.get("PROJECT_ID", "p-example"),
            bucket=environment.get("PROJECT_BUCKET", "sagemaker-p-example-111122223333"),
            model_group=environment.get("PROJECT_MODEL_GROUP", "example-p-example"),
            role=environment.get("PIPELINE_ROLE_ARN", "arn:aws:iam::111122223333:role/sagemaker-p-example-pipeline"),
            region=environment.get("AWS_REGION", "us-east-1"),
            kms_key=environment.get("PROJECT_KMS_KEY_ARN", ""),
            data_buckets=tuple(re.findall(r":::([^,]+)", environment.get("PROJECT_DATA_BUCKET_ARNS", ""))),
            subnets=tuple(re.findall(r"[^,]+", environment.get("PROJECT_SUBNET_IDS", ""))),
            security_groups=tuple(re.findall(r"[^,]+", environment.get("PROJECT_SECURITY_GROUP_IDS", ""))),
            isolated=environment.get("PROJECT_NETWORK_ISOLATION") == "true",
        )

    def address(self, content: bundle.Bundle | bundle.Archive | bundle.Packages) -> str:
        """Return the S3 address to which the build uploads a bundle."""
        return f"s3://{self.bucket}/{content.prefix}"

    def run(self, *names: Any) -> Join:
        """Return an S3 address below this execution's own prefix: no execution overwrites another's results."""
        return Join("/", [f"s3://{self.bucket}/runs", ExecutionVariables.PIPELINE_EXECUTION_ID, *names])

    def tags(self, step: str) -> dict[str, str]:
        """Return the tags of a step's jobs, which do not inherit the pipeline's. Studio and the bill use them."""
        return {"sagemaker:project-name": self.name, "sagemaker:project-id": self.id, "Step": step}

    def disk_key(self, instance_type: str) -> str | None:
        """Return the KMS key for a job's volume; None without a key, or if the instance type does not accept one."""
        return self.kms_key if self.kms_key and not NVME.match(instance_type) else None

    @property
    def network(self) -> dict[str, Any]:
        """VPC and isolation of jobs, as the SDK's Networking and NetworkConfig both take them; empty without either."""
        vpc = {"subnets": [*self.subnets], "security_group_ids": [*self.security_groups]} if self.subnets else {}
        return vpc | ({"enable_network_isolation": True} if self.isolated else {})

    def pip_variables(self, folder: str) -> dict[str, str]:
        """Return variables that make pip use `folder` as its only source; empty if jobs have internet access."""
        return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder} if self.network else {}

    @cached_property
    def training_image(self) -> str:
        """Image of every job: what preprocesses and evaluates is what trains."""
        return self.image("training", "ml.g4dn.xlarge", version="5.3.0", base_framework_version="pytorch2.9.0")

    @cached_property
    def inference_image(self) -> str:
        return self.image("inference", "ml.m5.xlarge", version="5.5.3", base_framework_version="pytorch2.6.0")

    def image(self, scope: str, instance_type: str, **versions: str) -> str:
        """Return the URI of a Hugging Face Deep Learning Container of AWS, from the tables in the SDK."""
        return image_uris.retrieve(
            "huggingface", self.region, image_scope=scope, instance_type=instance_type, py_version="py312", **versions
        )


@dataclass(frozen=True)
class Parameters:
    """Pipeline parameters, which can be set at each start of the pipeline; the defaults are those of settings.toml."""

    input_data: ParameterString
    processing_instance: ParameterString
    training_instance: ParameterString
    training_instances: ParameterInteger
    epochs: ParameterInteger
    batch_size: ParameterInteger
    learning_rate: ParameterFloat
    threshold: ParameterFloat
    approval: ParameterString

    @classmethod
    def with_defaults(cls, project: Project, chosen: settings.Settings) -> "Parameters":
        compute, training = chosen["compute"], chosen["training"]
        data = chosen["data"]["source"] or project.address(bundle.folder("sample"))
        return cls(
            input_data=ParameterString("InputData", data),
            processing_instance=ParameterString("ProcessingInstanceType", compute["processing_instance_type"]),
            training_instance=ParameterString("TrainingInstanceType", compute["training_instance_type"]),
            training_instances=ParameterInteger("TrainingInstanceCount", compute["training_instance_count"]),
            epochs=ParameterInteger("Epochs", training["epochs"]),
            batch_size=ParameterInteger("BatchSize", training["batch_size"]),
            learning_rate=ParameterFloat("LearningRate", float(training["learning_rate"])),
            threshold=ParameterFloat("Threshold", float(chosen["gate"]["threshold"])),
            approval=ParameterString(
                "ApprovalStatus", "PendingManualApproval", enum_values=["PendingManualApproval", "Approved", "Rejected"]
            ),
        )

    def used(self, chosen: settings.Settings) -> list[Any]:
        """Return all parameters, except those whose values tuning jobs do not take from the pipeline."""
        tuned = {*chosen["tuning"]["ranges"], "training_instances"} if chosen["tuning"]["jobs"] else set()
        return [parameter for name, parameter in vars(self).items() if name not in tuned]


class OfflineSession(PipelineSession):
    """A session that does not look up or create a default bucket in the account."""

    def __init__(self, bucket: str):
        super().__init__()
        self.bucket = bucket

    def default_bucket(self) -> str:
        return self.bucket


class ScriptTrainingStep(TrainingStep):
    """A training step whose container starts our script itself, so that SIGTERM reaches it before a Spot interruption.

    ModelTrainer accepts an entrypoint only together with source code that it uploads.
    """

    @property
    def arguments(self) -> dict[str, Any]:
        request = super().arguments
        request["AlgorithmSpecification"]["ContainerEntrypoint"] = [
            "python3",
            "/opt/ml/input/data/code/spotkit/jobs/start.py",
            bundle.SCRIPTS["train"],
        ]
        return request


class IsolatedTuningStep(TuningStep):
    """A tuning step whose jobs have no network.

    The SDK's tuner copies the VPC of its trainer, but not EnableNetworkIsolation.
    """

    @property
    def arguments(self) -> dict[str, Any]:
        request = super().arguments
        request["TrainingJobDefinition"]["EnableNetworkIsolation"] = True
        return request


class RegisterModelStep(ConfigurableRetryStep):
    """A step that registers a model package, with the unchanged request of CreateModelPackage.

    ModelBuilder.register() adds variables to the container, SAGEMAKER_SUBMIT_DIRECTORY="" among them.
    """

    def __init__(self, name: str, request: dict[str, Any], **options: Any):
        super().__init__(name, StepTypeEnum.REGISTER_MODEL, **options)
        self.request = request

    arguments = property(lambda self: self.request)
    properties = None  # no other step refers to this one


def preprocess(
    project: Project, parameters: Parameters, session: OfflineSession, chosen: settings.Settings
) -> ProcessingStep:
    instances = chosen["compute"]["processing_instance_count"]
    processor = processor_of(project, parameters, session, chosen, "preprocess", instances)
    distribution = "ShardedByS3Key" if instances > 1 else "FullyReplicated"
    request = processor.run(
        inputs=[
            processing_input("data", parameters.input_data, distribution),
            processing_input("code", project.address(bundle.code("preprocess"))),
            *processing_packages(project, chosen, "preprocess"),
        ],
        outputs=[
            processing_output(name, project.run("Preprocess", name))
            for name in ("train", "validation", "test", "report")
        ],
    )
    return ProcessingStep("Preprocess", request, cache_config=cache(), retry_policies=job_retries())


def train(
    project: Project,
    parameters: Parameters,
    session: OfflineSession,
    chosen: settings.Settings,
    preprocessing: ProcessingStep,
    name: str,
    spot: bool,
) -> TrainingStep:
    trainer = trainer_of(project, parameters, session, chosen, name, spot)
    trainer.with_checkpoint_config(checkpoints(parameters, preprocessing, name))
    trainer.with_metric_definitions(metrics())
    channels = training_inputs(project, chosen, preprocessing, bundle.code("train"))
    request = trainer.train(input_data_config=channels)
    return ScriptTrainingStep(name, request, cache_config=cache(), retry_policies=job_retries())


def tune(
    project: Project,
    parameters: Parameters,
    session: OfflineSession,
    chosen: settings.Settings,
    preprocessing: ProcessingStep,
    spot: bool,
) -> TuningStep:
    """Return the step that takes Train's place: several training jobs, with hyperparameters from [tuning.ranges].

    The API accepts no entrypoint for these jobs: the image's toolkit unpacks an archive and starts train.py. It does
    not pass SIGTERM on, so an interruption costs what was trained since the last checkpoint ([training]
    checkpoint_seconds). The archive is an input channel because a job without network could not download it.
    """
    tuning = chosen["tuning"]
    trainer = trainer_of(project, parameters, session, chosen, "Tune", spot)
    trainer.compute.instance_count = 1  # the toolkit starts one process, without torchrun
    trainer.hyperparameters |= {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": "/opt/ml/input/data/code/sourcedir.tar.gz",
    }
    # The address may hold the execution's id: for a tuning step, the cache does not compare it
    # (https://docs.aws.amazon.com/sagemaker/latest/dg/pipelines-default-keys.html). job.checkpoints() keeps jobs apart.
    trainer.with_checkpoint_config(
        CheckpointConfig(local_path="/opt/ml/checkpoints", s3_uri=project.run("Tune", "checkpoints"))
    )
    tuner = HyperparameterTuner(
        trainer,
        objective_metric_name=tuning["objective"],
        objective_type="Minimize" if tuning["objective"].endswith("_loss") else "Maximize",
        hyperparameter_ranges={name: parameter_range(name, values) for name, values in tuning["ranges"].items()},
        metric_definitions=[{"Name": metric.name, "Regex": metric.regex} for metric in metrics()],
        strategy=tuning["strategy"],
        max_jobs=tuning["jobs"],
        max_parallel_jobs=tuning["parallel_jobs"],
        early_stopping_type="Auto" if tuning["early_stopping"] else "Off",
        random_seed=chosen["training"]["seed"] % 2**31,
    )
    request = tuner.tune(inputs=training_inputs(project, chosen, preprocessing, bundle.tuning_code()))
    step = IsolatedTuningStep if project.isolated else TuningStep
    return step("Tune", request, cache_config=cache(), retry_policies=job_retries())


def parameter_range(name: str, values: list[Any]) -> ParameterRange:
    """Return a range of settings.toml as the SDK's; the learning rate is searched on a logarithmic scale."""
    if not settings.is_interval(values):
        return CategoricalParameter(values)
    if settings.KNOWN["training"][name] is int:
        return IntegerParameter(*values)
    return ContinuousParameter(*map(float, values), scaling_type="Logarithmic" if name == "learning_rate" else "Auto")


def training_inputs(
    project: Project, chosen: settings.Settings, preprocessing: ProcessingStep, code: bundle.Bundle | bundle.Archive
) -> list[InputData]:
    """Return the input channels of a training job."""
    channels = {name: output(preprocessing, name) for name in ("train", "validation")}
    channels["code"] = project.address(code)
    if chosen["model"]["weights"].startswith("s3://"):
        channels["pretrained"] = chosen["model"]["weights"]
    if project.network:
        channels["packages"] = project.address(bundle.packages("train", chosen))
    return [InputData(channel_name=name, data_source=source) for name, source in channels.items()]


def trainer_of(
    project: Project,
    parameters: Parameters,
    session: OfflineSession,
    chosen: settings.Settings,
    name: str,
    spot: bool,
) -> ModelTrainer:
    """Return the trainer that a training step and a tuning step have in common."""
    compute = chosen["compute"]
    tags = project.tags(name) | {"TrainingType": "Spot" if spot else "OnDemand"}
    return ModelTrainer(
        training_image=project.training_image,
        role=project.role,
        compute=Compute(
            instance_type=parameters.training_instance,
            instance_count=parameters.training_instances,
            volume_size_in_gb=compute["volume_gb"],
            volume_kms_key_id=project.disk_key(compute["training_instance_type"]),
            enable_managed_spot_training=spot or None,
        ),
        hyperparameters={
            "epochs": parameters.epochs.to_string(),
            "batch_size": parameters.batch_size.to_string(),
            "learning_rate": parameters.learning_rate.to_string(),
        },
        output_data_config=OutputDataConfig(s3_output_path=project.run(name)),
        stopping_condition=StoppingCondition(
            max_runtime_in_seconds=compute["max_run_hours"] * HOUR,
            max_wait_time_in_seconds=compute["max_wait_hours"] * HOUR if spot else None,
        ),
        tags=[Tag(key=key, value=value) for key, value in tags.items()],
        environment=tracking(project, chosen["tracking"]) | project.pip_variables("/opt/ml/input/data/packages"),
        networking=Networking(**project.network) if project.network else None,
        sagemaker_session=session,
    )


def checkpoints(parameters: Parameters, preprocessing: ProcessingStep, name: str) -> CheckpointConfig:
    """Return where training keeps checkpoints and resumes from: an address that depends on the same things as training.

    With the execution's id in it, the step would differ in every execution and never come from the cache; with a fixed
    address, a new run would load checkpoints of old data. The address is below Preprocess's report, which stands for
    the data, and not below the training data, which jobs download with everything under it.
    """
    depends_on = [bundle.code("train").digest, parameters.epochs, parameters.batch_size, parameters.learning_rate]
    return CheckpointConfig(
        local_path="/opt/ml/checkpoints",
        s3_uri=Join("/", [output(preprocessing, "report"), "checkpoints", name, *depends_on]),
    )


def metrics() -> list[MetricDefinition]:
    """Return the metric definitions by which SageMaker finds the metrics in train.py's log."""
    return [MetricDefinition(name=name, regex=regex) for name, regex in METRICS.items()]


def tracking(project: Project, chosen: dict[str, str]) -> dict[str, str]:
    """Return the environment variables that configure src/tracking.py; none of them is a secret."""
    variables = {
        "MLFLOW_TRACKING_URI": chosen["mlflow"],
        "MLFLOW_EXPERIMENT_NAME": chosen["mlflow"] and project.model_group,
        "WANDB_PROJECT": chosen["wandb_project"],
        "WANDB_SECRET": chosen["wandb_secret"],
    }
    return {name: value for name, value in variables.items() if value}


def evaluate(
    project: Project,
    parameters: Parameters,
    session: OfflineSession,
    chosen: settings.Settings,
    preprocessing: ProcessingStep,
    training: list[TrainingStep | TuningStep],
) -> ProcessingStep:
    environment = training_times(training) | {"GATE_THRESHOLD": parameters.threshold.to_string()}
    challenged = chosen["gate"]["allowed_drop"] < 1
    if challenged:
        environment |= {"MODEL_PACKAGE_GROUP": project.model_group, "AWS_DEFAULT_REGION": project.region}
    processor = processor_of(project, parameters, session, chosen, "evaluate", environment=environment)
    request = processor.run(
        inputs=[
            processing_input("model", model_of(training[0])),
            processing_input("test", output(preprocessing, "test")),
            processing_input("code", project.address(bundle.code("evaluate"))),
            *processing_packages(project, chosen, "evaluate"),
        ],
        outputs=[processing_output("evaluation", project.run("Evaluate", "evaluation"))],
    )
    return ProcessingStep(
        "Evaluate",
        request,
        property_files=[PropertyFile("Evaluation", "evaluation", "evaluation.json")],
        # The approved model is not an argument of the step: a cached result would compare with a stale champion.
        cache_config=None if challenged else cache(),
        retry_policies=job_retries(),
    )


def model_of(step: TrainingStep | TuningStep) -> Any:
    """Return the S3 address of a step's model; for a tuning step, of its best job's.

    It comes from the step's properties: after a cache hit they have the address of the original run.
    """
    if isinstance(step, TrainingStep):
        return step.properties.ModelArtifacts.S3ModelArtifacts
    written = step.properties.TrainingJobDefinition.OutputDataConfig.S3OutputPath
    return Join("/", [written, step.properties.BestTrainingJob.TrainingJobName, "output/model.tar.gz"])


def training_times(training: list[TrainingStep | TuningStep]) -> dict[str, Any]:
    """Return seconds trained and billed as environment variables, which have to be text; a tuning step has none."""
    times = {}
    steps = [step for step in training if isinstance(step, TrainingStep)]
    for step, prefix in zip(steps, ("TRAIN", "TRAIN_ON_DEMAND"), strict=False):
        times[f"{prefix}_SECONDS"] = step.properties.TrainingTimeInSeconds.to_string()
        times[f"{prefix}_BILLABLE_SECONDS"] = step.properties.BillableTimeInSeconds.to_string()
    return times


def gate(
    parameters: Parameters, evaluation: ProcessingStep, registration: RegisterModelStep, limits: dict[str, Any]
) -> ConditionStep:
    """Return the step that registers the model, or fails with what was measured and why that is not enough."""

    def measured(name: str) -> JsonGet:
        return JsonGet(step_name=evaluation.name, property_file="Evaluation", json_path=f"gate.{name}")

    value, drop, allowed = measured("value"), measured("drop"), float(limits["allowed_drop"])
    conditions = [ConditionGreaterThanOrEqualTo(value, parameters.threshold)]
    message = [
        f"The model's {limits['metric']} on the test split is ",
        measured("measured"),
        "; the threshold is ",
        parameters.threshold,
    ]
    if allowed < 1:
        conditions.append(ConditionLessThanOrEqualTo(drop, allowed))
        message += [". ", measured("comparison"), f" [gate] allowed_drop is {allowed:g}"]
    message += [". ", measured("verdict")]
    return ConditionStep(
        "Gate",
        conditions=conditions,
        if_steps=[registration],
        else_steps=[FailStep("Fail", Join("", message))],
    )


def register(
    project: Project, parameters: Parameters, training: TrainingStep | TuningStep, evaluation: ProcessingStep
) -> RegisterModelStep:
    container = {
        "Image": project.inference_image,
        "ModelDataUrl": model_of(training),
        "Environment": {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"},
    }
    statistics = {
        "ContentType": "application/json",
        "S3Uri": Join("/", [output(evaluation, "evaluation"), "evaluation.json"]),
    }
    request = {
        "ModelPackageGroupName": project.model_group,
        "ModelApprovalStatus": parameters.approval,
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": INFERENCE_INSTANCE_TYPES,
            "SupportedTransformInstanceTypes": INFERENCE_INSTANCE_TYPES,
        },
        "ModelMetrics": {"ModelQuality": {"Statistics": statistics}},
        # The deployment templates of this build: approving the version later deploys it with exactly these.
        "CustomerMetadataProperties": {"Deployment": project.address(bundle.folder("deploy"))},
    }
    return RegisterModelStep("Register", request, retry_policies=[service_retry()])


def processor_of(
    project: Project,
    parameters: Parameters,
    session: OfflineSession,
    chosen: settings.Settings,
    script: str,
    instances: int = 1,
    environment: dict[str, Any] | None = None,
) -> Processor:
    """Return a processor that runs a script of src/."""
    tags = project.tags(script.title())
    variables = (environment or {}) | project.pip_variables("/opt/ml/processing/input/packages")
    return Processor(
        role=project.role,
        image_uri=project.training_image,
        instance_count=instances,
        instance_type=parameters.processing_instance,
        entrypoint=["python3", "/opt/ml/processing/input/code/spotkit/jobs/start.py", bundle.SCRIPTS[script]],
        max_runtime_in_seconds=chosen["compute"]["max_run_hours"] * HOUR,
        volume_kms_key=project.disk_key(parameters.processing_instance.default_value),
        tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        env=variables or None,
        network_config=NetworkConfig(**project.network) if project.network else None,
        sagemaker_session=session,
    )


def processing_packages(project: Project, chosen: settings.Settings, step: str) -> list[ProcessingInput]:
    """Return the input with wheels to install, if jobs may lack internet access: in a VPC, or isolated."""
    packages = project.address(bundle.packages(step, chosen))
    return [processing_input("packages", packages)] if project.network else []


def processing_input(name: str, uri: Any, distribution: str = "FullyReplicated") -> ProcessingInput:
    return ProcessingInput(
        input_name=name,
        s3_input=ProcessingS3Input(
            s3_uri=uri,
            local_path=f"/opt/ml/processing/input/{name}",
            s3_data_type="S3Prefix",
            s3_input_mode="File",
            s3_data_distribution_type=distribution,
        ),
    )


def processing_output(name: str, uri: Any) -> ProcessingOutput:
    return ProcessingOutput(
        output_name=name,
        s3_output=ProcessingS3Output(
            s3_uri=uri, local_path=f"/opt/ml/processing/output/{name}", s3_upload_mode="EndOfJob"
        ),
    )


def output(step: ProcessingStep, name: str) -> Any:
    """Return the S3 address of an output of a processing step; after a cache hit, the one of the original run."""
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri


def cache() -> CacheConfig:
    return CacheConfig(enable_caching=True, expire_after="P30D")


def service_retry() -> StepRetryPolicy:
    return StepRetryPolicy(
        exception_types=[StepExceptionTypeEnum.SERVICE_FAULT, StepExceptionTypeEnum.THROTTLING],
        interval_seconds=10,
        backoff_rate=2.0,
        max_attempts=5,
    )


def job_retries() -> list[StepRetryPolicy]:
    no_capacity = SageMakerJobStepRetryPolicy(
        exception_types=[
            SageMakerJobExceptionTypeEnum.INTERNAL_ERROR,
            SageMakerJobExceptionTypeEnum.CAPACITY_ERROR,
            SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT,
        ],
        interval_seconds=60,
        backoff_rate=2.0,
        max_attempts=5,
    )
    return [service_retry(), no_capacity]


def build(project: Project, chosen: settings.Settings) -> Pipeline:
    """Return the pipeline that settings.toml describes."""
    session = OfflineSession(project.bucket)
    parameters = Parameters.with_defaults(project, chosen)
    mode = chosen["compute"]["mode"]

    preprocessing = preprocess(project, parameters, session, chosen)
    if chosen["tuning"]["jobs"]:
        training = [tune(project, parameters, session, chosen, preprocessing, spot=mode != "on_demand")]
    else:
        training = [train(project, parameters, session, chosen, preprocessing, "Train", spot=mode != "on_demand")]
    if mode == "compare":
        training.append(train(project, parameters, session, chosen, preprocessing, "TrainOnDemand", spot=False))
    evaluation = evaluate(project, parameters, session, chosen, preprocessing, training)
    registration = register(project, parameters, training[0], evaluation)
    gating = gate(parameters, evaluation, registration, chosen["gate"])

    steps = [preprocessing, *training, evaluation, gating]
    return Pipeline(
        name=project.model_group,
        parameters=parameters.used(chosen),
        steps=steps,
        pipeline_experiment_config=None,  # otherwise every run creates an experiment and a trial
        sagemaker_session=session,
    )


def without_nulls(value: Any) -> Any:
    """Return a value without its null members: the SDK writes null for some unset fields, such as MlflowConfig."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def require_weights_of_jobs(project: Project, chosen: settings.Settings) -> None:
    """Raise ValueError if the weights are in a folder of this machine, which no job can read."""
    if (weights := chosen["model"]["weights"]).startswith("/"):
        raise ValueError(
            f"[model] weights is {weights!r}, a folder of this machine, which no job has. "
            f"Upload it (aws s3 cp --recursive {weights} s3://{project.bucket}/weights), and name that address."
        )


def require_own_bucket(project: Project, chosen: settings.Settings) -> None:
    """Raise ValueError if data or weights are in a bucket that the jobs' role cannot read."""
    readable = (project.bucket, *project.data_buckets)
    for section, key in (("data", "source"), ("model", "weights")):
        address = chosen[section][key]
        if address.startswith("s3://") and address.split("/")[2] not in readable:
            raise ValueError(
                f"[{section}] {key} is {address!r}, not in s3://{', s3://'.join(readable)}. Copy it there, or have the "
                f"platform team add the bucket to the project's parameter DataBucketArns."
            )


def require_own_secret(project: Project, chosen: settings.Settings) -> None:
    """Raise ValueError if the secret is not the project's: the jobs' role can read no other."""
    secret, own = chosen["tracking"]["wandb_secret"], f"sagemaker-{project.id}/"
    if secret and not secret.startswith(own):
        raise ValueError(f"[tracking] wandb_secret is {secret!r}. Name it {own}..., as in {own}wandb.")


def require_no_network(chosen: settings.Settings) -> None:
    """Raise ValueError if a setting needs a network, which isolated jobs do not have."""
    asked = {f"[tracking] {name}": '""' for name, value in chosen["tracking"].items() if value}
    if chosen["model"]["weights"] == "hub":
        asked["[model] weights"] = '"scratch", or an address in S3'
    if chosen["gate"]["allowed_drop"] < 1:  # the evaluation looks up the approved model in Model Registry
        asked["[gate] allowed_drop"] = "1.0"
    if asked:
        raise ValueError(
            f"this project's jobs have no network, which {', '.join(asked)} would need. Set "
            f"{', '.join(f'{setting} to {value}' for setting, value in asked.items())}; or have the platform team set the "
            "project's parameter NetworkIsolation to false."
        )


def main() -> None:
    project = Project.from_environment(ENVIRONMENT)
    try:
        chosen = settings.load()
        require_weights_of_jobs(project, chosen)
        if project.isolated:
            require_no_network(chosen)
        if "PROJECT_BUCKET" in ENVIRONMENT:
            require_own_bucket(project, chosen)
            require_own_secret(project, chosen)
    except ValueError as error:
        sys.exit(f"error: {error}")
    definition = json.loads(build(project, chosen).definition())
    json.dump(without_nulls(definition), sys.stdout, indent=2, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
