"""The steps of the pipeline, each as one function: preprocess, train or tune, evaluate, gate, register.

`Build` holds what all of them need. A step of a team's own is a script: see `script`.
"""

from dataclasses import dataclass
from typing import Any

import spotkit.definition.sdk  # noqa: F401  first: it prepares the SDK to work offline

# isort: split
from sagemaker.core.network import NetworkConfig
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter, IntegerParameter, ParameterRange
from sagemaker.core.processing import Processor
from sagemaker.core.shapes import ProcessingInput, ProcessingOutput, ProcessingS3Input, ProcessingS3Output
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
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.mlops.workflow.steps import CacheConfig, ProcessingStep, TrainingStep, TuningStep
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

from spotkit import settings
from spotkit.checks import Project
from spotkit.definition import bundle, places
from spotkit.definition.sdk import IsolatedTuningStep, OfflineSession, RegisterModelStep, ScriptTrainingStep
from spotkit.settings import Settings
from spotkit.training.tracking import METRICS

HOUR = 3600
INFERENCE_INSTANCE_TYPES = ["ml.m5.large", "ml.m5.xlarge", "ml.c5.xlarge"]  # the inference image is for CPUs


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
    def with_defaults(cls, project: Project, settings: Settings) -> "Parameters":
        compute, training = settings["compute"], settings["training"]
        data = settings["data"]["source"] or places.address(project, bundle.folder("sample"))
        return cls(
            input_data=ParameterString("InputData", data),
            processing_instance=ParameterString("ProcessingInstanceType", compute["processing_instance_type"]),
            training_instance=ParameterString("TrainingInstanceType", compute["training_instance_type"]),
            training_instances=ParameterInteger("TrainingInstanceCount", compute["training_instance_count"]),
            epochs=ParameterInteger("Epochs", training["epochs"]),
            batch_size=ParameterInteger("BatchSize", training["batch_size"]),
            learning_rate=ParameterFloat("LearningRate", float(training["learning_rate"])),
            threshold=ParameterFloat("Threshold", float(settings["gate"]["threshold"])),
            approval=ParameterString(
                "ApprovalStatus", "PendingManualApproval", enum_values=["PendingManualApproval", "Approved", "Rejected"]
            ),
        )

    def used(self, settings: Settings) -> list[Any]:
        """Return all parameters, except those whose values tuning jobs do not take from the pipeline."""
        tuned = {*settings["tuning"]["ranges"], "training_instances"} if settings["tuning"]["jobs"] else set()
        return [parameter for name, parameter in vars(self).items() if name not in tuned]


@dataclass(frozen=True)
class Build:
    """Hold what every step needs: the project, its settings, the pipeline's parameters, and an offline session."""

    project: Project
    settings: Settings
    parameters: Parameters
    session: OfflineSession

    @classmethod
    def of(cls, project: Project, settings: Settings) -> "Build":
        return cls(project, settings, Parameters.with_defaults(project, settings), OfflineSession(project.bucket))


def preprocess(build: Build) -> ProcessingStep:
    instances = build.settings["compute"]["processing_instance_count"]
    processor = processor_of(build, "preprocess", instances)
    distribution = "ShardedByS3Key" if instances > 1 else "FullyReplicated"
    request = processor.run(
        inputs=[
            processing_input("data", build.parameters.input_data, distribution),
            processing_input("code", places.address(build.project, bundle.code("preprocess"))),
            *processing_packages(build, "preprocess"),
        ],
        outputs=[
            processing_output(name, places.run_address(build.project, "Preprocess", name))
            for name in ("train", "validation", "test", "report")
        ],
    )
    return ProcessingStep("Preprocess", request, cache_config=cache(), retry_policies=job_retries())


def train(
    build: Build,
    preprocessing: ProcessingStep,
    name: str,
    spot: bool,
) -> TrainingStep:
    trainer = trainer_of(build, name, spot)
    trainer.with_checkpoint_config(checkpoints(build, preprocessing, name))
    trainer.with_metric_definitions(metrics())
    channels = training_inputs(build, preprocessing, bundle.code("train"))
    request = trainer.train(input_data_config=channels)
    return ScriptTrainingStep(name, request, cache_config=cache(), retry_policies=job_retries())


def tune(
    build: Build,
    preprocessing: ProcessingStep,
    spot: bool,
) -> TuningStep:
    """Return the step that takes Train's place: several training jobs, with hyperparameters from [tuning.ranges].

    The API accepts no entrypoint for these jobs: the image's toolkit unpacks an archive and starts train.py. It does
    not pass SIGTERM on, so an interruption costs what was trained since the last checkpoint ([training]
    checkpoint_seconds). The archive is an input channel because a job without network could not download it.
    """
    tuning = build.settings["tuning"]
    trainer = trainer_of(build, "Tune", spot)
    trainer.compute.instance_count = 1  # the toolkit starts one process, without torchrun
    trainer.hyperparameters |= {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": "/opt/ml/input/data/code/sourcedir.tar.gz",
    }
    # The address may hold the execution's id: for a tuning step, the cache does not compare it
    # (https://docs.aws.amazon.com/sagemaker/latest/dg/pipelines-default-keys.html). job.checkpoints() keeps jobs apart.
    trainer.with_checkpoint_config(
        CheckpointConfig(
            local_path="/opt/ml/checkpoints", s3_uri=places.run_address(build.project, "Tune", "checkpoints")
        )
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
        random_seed=build.settings["training"]["seed"] % 2**31,
    )
    request = tuner.tune(inputs=training_inputs(build, preprocessing, bundle.tuning_code()))
    step = IsolatedTuningStep if build.project.isolated else TuningStep
    return step("Tune", request, cache_config=cache(), retry_policies=job_retries())


def parameter_range(name: str, values: list[Any]) -> ParameterRange:
    """Return a range of settings.toml as the SDK's; the learning rate is searched on a logarithmic scale."""
    if not settings.is_interval(values):
        return CategoricalParameter(values)
    if settings.KNOWN["training"][name] is int:
        return IntegerParameter(*values)
    return ContinuousParameter(*map(float, values), scaling_type="Logarithmic" if name == "learning_rate" else "Auto")


def training_inputs(
    build: Build, preprocessing: ProcessingStep, code: bundle.Bundle | bundle.Archive
) -> list[InputData]:
    """Return the input channels of a training job."""
    channels = {name: output(preprocessing, name) for name in ("train", "validation")}
    channels["code"] = places.address(build.project, code)
    if build.settings["model"]["weights"].startswith("s3://"):
        channels["pretrained"] = build.settings["model"]["weights"]
    if places.network(build.project):
        channels["packages"] = places.address(build.project, bundle.packages("train", build.settings))
    return [InputData(channel_name=name, data_source=source) for name, source in channels.items()]


def trainer_of(
    build: Build,
    name: str,
    spot: bool,
) -> ModelTrainer:
    """Return the trainer that a training step and a tuning step have in common."""
    compute = build.settings["compute"]
    tags = places.job_tags(build.project, name) | {"TrainingType": "Spot" if spot else "OnDemand"}
    return ModelTrainer(
        training_image=places.training_image(build.project),
        role=build.project.role,
        compute=Compute(
            instance_type=build.parameters.training_instance,
            instance_count=build.parameters.training_instances,
            volume_size_in_gb=compute["volume_gb"],
            volume_kms_key_id=places.disk_key(build.project, compute["training_instance_type"]),
            enable_managed_spot_training=spot or None,
        ),
        hyperparameters={
            "epochs": build.parameters.epochs.to_string(),
            "batch_size": build.parameters.batch_size.to_string(),
            "learning_rate": build.parameters.learning_rate.to_string(),
        },
        output_data_config=OutputDataConfig(s3_output_path=places.run_address(build.project, name)),
        stopping_condition=StoppingCondition(
            max_runtime_in_seconds=compute["max_run_hours"] * HOUR,
            max_wait_time_in_seconds=compute["max_wait_hours"] * HOUR if spot else None,
        ),
        tags=[Tag(key=key, value=value) for key, value in tags.items()],
        environment=tracking(build) | places.pip_variables(build.project, "/opt/ml/input/data/packages"),
        networking=Networking(**places.network(build.project)) if places.network(build.project) else None,
        sagemaker_session=build.session,
    )


def checkpoints(build: Build, preprocessing: ProcessingStep, name: str) -> CheckpointConfig:
    """Return where training keeps checkpoints and resumes from: an address that depends on the same things as training.

    With the execution's id in it, the step would differ in every execution and never come from the cache; with a fixed
    address, a new run would load checkpoints of old data. The address is below Preprocess's report, which stands for
    the data, and not below the training data, which jobs download with everything under it.
    """
    depends_on = [
        bundle.code("train").digest,
        build.parameters.epochs,
        build.parameters.batch_size,
        build.parameters.learning_rate,
    ]
    return CheckpointConfig(
        local_path="/opt/ml/checkpoints",
        s3_uri=Join("/", [output(preprocessing, "report"), "checkpoints", name, *depends_on]),
    )


def metrics() -> list[MetricDefinition]:
    """Return the metric definitions by which SageMaker finds the metrics in train.py's log."""
    return [MetricDefinition(name=name, regex=regex) for name, regex in METRICS.items()]


def tracking(build: Build) -> dict[str, str]:
    """Return the environment variables that configure src/tracking.py; none of them is a secret."""
    chosen = build.settings["tracking"]
    variables = {
        "MLFLOW_TRACKING_URI": chosen["mlflow"],
        "MLFLOW_EXPERIMENT_NAME": chosen["mlflow"] and build.project.model_group,
        "WANDB_PROJECT": chosen["wandb_project"],
        "WANDB_SECRET": chosen["wandb_secret"],
    }
    return {name: value for name, value in variables.items() if value}


def evaluate(
    build: Build,
    preprocessing: ProcessingStep,
    training: list[TrainingStep | TuningStep],
) -> ProcessingStep:
    environment = training_times(training) | {"GATE_THRESHOLD": build.parameters.threshold.to_string()}
    challenged = build.settings["gate"]["allowed_drop"] < 1
    if challenged:
        environment |= {"MODEL_PACKAGE_GROUP": build.project.model_group, "AWS_DEFAULT_REGION": build.project.region}
    processor = processor_of(build, "evaluate", environment=environment)
    request = processor.run(
        inputs=[
            processing_input("model", model_of(training[0])),
            processing_input("test", output(preprocessing, "test")),
            processing_input("code", places.address(build.project, bundle.code("evaluate"))),
            *processing_packages(build, "evaluate"),
        ],
        outputs=[processing_output("evaluation", places.run_address(build.project, "Evaluate", "evaluation"))],
    )
    return ProcessingStep(
        "Evaluate",
        request,
        property_files=[PropertyFile("Evaluation", "evaluation", "evaluation.json")],
        # The approved model is not an argument of the step: a cached result would compare with a stale champion.
        cache_config=None if challenged else cache(),
        retry_policies=job_retries(),
    )


def script(
    build: Build, name: str, path: str, inputs: dict[str, Any], outputs: tuple[str, ...] = (), **options: Any
) -> ProcessingStep:
    """Return a processing step that runs a script of the team, as in script(build, "Report", "src/report.py", ...).

    It finds `inputs` (S3 addresses by name, as `output(preprocess, "test")`) in /opt/ml/processing/input/<name>, and leaves
    its results in /opt/ml/processing/output/<name>. `options` are ProcessingStep's, as property_files or depends_on.
    """
    processor = processor_of(build, path, step=name)
    request = processor.run(
        inputs=[
            *(processing_input(key, address) for key, address in inputs.items()),
            processing_input("code", places.address(build.project, bundle.code(path))),
            *processing_packages(build, path),
        ],
        outputs=[processing_output(key, places.run_address(build.project, name, key)) for key in outputs],
    )
    return ProcessingStep(name, request, cache_config=cache(), retry_policies=job_retries(), **options)


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


def gate(build: Build, evaluation: ProcessingStep, registration: RegisterModelStep) -> ConditionStep:
    """Return the step that registers the model, or fails with what was measured and why that is not enough."""

    def measured(name: str) -> JsonGet:
        return JsonGet(step_name=evaluation.name, property_file="Evaluation", json_path=f"gate.{name}")

    limits = build.settings["gate"]
    value, drop, allowed = measured("value"), measured("drop"), float(limits["allowed_drop"])
    conditions = [ConditionGreaterThanOrEqualTo(value, build.parameters.threshold)]
    message = [
        f"The model's {limits['metric']} on the test split is ",
        measured("measured"),
        "; the threshold is ",
        build.parameters.threshold,
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


def register(build: Build, training: TrainingStep | TuningStep, evaluation: ProcessingStep) -> RegisterModelStep:
    container = {
        "Image": places.inference_image(build.project),
        "ModelDataUrl": model_of(training),
        "Environment": {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"},
    }
    statistics = {
        "ContentType": "application/json",
        "S3Uri": Join("/", [output(evaluation, "evaluation"), "evaluation.json"]),
    }
    request = {
        "ModelPackageGroupName": build.project.model_group,
        "ModelApprovalStatus": build.parameters.approval,
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": INFERENCE_INSTANCE_TYPES,
            "SupportedTransformInstanceTypes": INFERENCE_INSTANCE_TYPES,
        },
        "ModelMetrics": {"ModelQuality": {"Statistics": statistics}},
        # The deployment templates of this build: approving the version later deploys it with exactly these.
        "CustomerMetadataProperties": {"Deployment": places.address(build.project, bundle.folder("deploy"))},
    }
    return RegisterModelStep("Register", request, retry_policies=[service_retry()])


def processor_of(
    build: Build,
    script: str,
    instances: int = 1,
    environment: dict[str, Any] | None = None,
    step: str = "",
) -> Processor:
    """Return a processor that runs a module of bundle.SCRIPTS, or a script of the team by its path."""
    tags = places.job_tags(build.project, step or script.title())
    variables = (environment or {}) | places.pip_variables(build.project, "/opt/ml/processing/input/packages")
    return Processor(
        role=build.project.role,
        image_uri=places.training_image(build.project),
        instance_count=instances,
        instance_type=build.parameters.processing_instance,
        entrypoint=[
            "python3",
            "/opt/ml/processing/input/code/spotkit/jobs/start.py",
            bundle.SCRIPTS.get(script, script),
        ],
        max_runtime_in_seconds=build.settings["compute"]["max_run_hours"] * HOUR,
        volume_kms_key=places.disk_key(build.project, build.parameters.processing_instance.default_value),
        tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        env=variables or None,
        network_config=NetworkConfig(**places.network(build.project)) if places.network(build.project) else None,
        sagemaker_session=build.session,
    )


def processing_packages(build: Build, step: str) -> list[ProcessingInput]:
    """Return the input with wheels to install, if jobs may lack internet access: in a VPC, or isolated."""
    packages = places.address(build.project, bundle.packages(step, build.settings))
    return [processing_input("packages", packages)] if places.network(build.project) else []


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
