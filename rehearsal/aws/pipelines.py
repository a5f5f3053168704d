"""Emulate SageMaker Pipelines: definitions, executions and their steps, independent ones in parallel."""

import hashlib
import json
import re
import threading
import traceback
from pathlib import Path
from typing import Any

import botocore.exceptions
from botocore import xform_name

from rehearsal.aws import adapter, definitions, objects
from rehearsal.aws.jobs import KINDS, job_name
from rehearsal.aws.protocol import (
    AwsError,
    Caller,
    now,
    page,
    public,
    service_model,
    short_id,
)

MAX_CHARACTERS = 1_048_576
ENDED = ("Succeeded", "Failed", "Stopped")
# docs.aws.amazon.com/sagemaker/latest/dg/pipelines-default-keys.html
CACHE_KEYS = {
    "Training": (
        "AlgorithmSpecification", "CheckpointConfig", "DebugHookConfig", "DebugRuleConfigurations", "Environment",
        "HyperParameters", "InputDataConfig",
    ),
    "Processing": ("AppSpecification", "Environment", "ProcessingInputs"),
    "Tuning": (
        "HyperParameterTuningJobConfig", "TrainingJobDefinition.AlgorithmSpecification",
        "TrainingJobDefinition.HyperParameterRanges", "TrainingJobDefinition.InputDataConfig",
        "TrainingJobDefinition.StaticHyperParameters", "TrainingJobDefinition.TuningObjective",
    ),
}  # fmt: skip
COMPARE = {
    "Equals": lambda left, right: left == right,
    "GreaterThan": lambda left, right: left > right,
    "GreaterThanOrEqualTo": lambda left, right: left >= right,
    "LessThan": lambda left, right: left < right,
    "LessThanOrEqualTo": lambda left, right: left <= right,
}
PARAMETER_TYPES = {"String": str, "Integer": int, "Float": float, "Boolean": lambda text: str(text).lower() == "true"}


class StepFailed(Exception):
    """Raised when a step fails, which fails the execution; the message is the failure reason."""


class Pipelines:
    """The API operations on pipelines and executions."""

    pipelines: dict[str, dict[str, Any]]
    executions: dict[str, "Execution"]
    tags: dict[str, list[dict[str, str]]]
    folder: Path

    def start_pipelines(self) -> None:
        self.pipelines, self.executions, self.cache = {}, {}, {}
        self.changing = threading.Lock()  # requests with the same token may arrive at the same time

    def create_pipeline(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        name = parameters["PipelineName"]
        if name in self.pipelines:
            if parameters["ClientRequestToken"] == self.pipelines[name]["token"]:
                return {"PipelineArn": self.pipelines[name]["PipelineArn"]}
            raise AwsError(
                "ValidationException",
                f"Pipeline names must be unique within an AWS account and region. Pipeline with name ({name}) already exists.",
            )
        caller.pass_role(parameters["RoleArn"], "sagemaker.amazonaws.com")
        arn = f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:pipeline/{name.lower()}"
        self.pipelines[name] = {
            "PipelineArn": arn,
            "PipelineName": name,
            "PipelineDisplayName": parameters.get("PipelineDisplayName", name),
            "PipelineDefinition": self.definition(parameters),
            "PipelineDescription": parameters.get("PipelineDescription", ""),
            "RoleArn": parameters["RoleArn"],
            "PipelineStatus": "Active",
            "CreationTime": now(),
            "LastModifiedTime": now(),
            "token": parameters["ClientRequestToken"],
            "versions": [],
        }
        self.pipelines[name]["versions"].append(self.pipelines[name]["PipelineDefinition"])
        self.tags[arn] = parameters.get("Tags", [])
        return {"PipelineArn": arn}

    def update_pipeline(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        pipeline = self.pipeline(parameters["PipelineName"])
        if "RoleArn" in parameters:
            caller.pass_role(parameters["RoleArn"], "sagemaker.amazonaws.com")
        changed = {
            key: parameters[key]
            for key in ("PipelineDisplayName", "PipelineDescription", "RoleArn")
            if key in parameters
        }
        if "PipelineDefinition" in parameters or "PipelineDefinitionS3Location" in parameters:
            changed["PipelineDefinition"] = self.definition(parameters)
        with self.changing:
            pipeline |= {**changed, "LastModifiedTime": now()}
            pipeline["versions"].append(pipeline["PipelineDefinition"])
            return {"PipelineArn": pipeline["PipelineArn"], "PipelineVersionId": len(pipeline["versions"])}

    def definition(self, parameters: dict[str, Any]) -> str:
        """Return the text of a request's definition. Raises ValidationException if AWS would reject it at once."""
        text = parameters.get("PipelineDefinition")
        if text is None:
            place = parameters["PipelineDefinitionS3Location"]
            version = {"VersionId": place["VersionId"]} if "VersionId" in place else {}
            s3 = adapter.client("s3", adapter.root_credentials())
            text = s3.get_object(Bucket=place["Bucket"], Key=place["ObjectKey"], **version)["Body"].read().decode()
        if len(text) > MAX_CHARACTERS:
            raise AwsError(
                "ValidationException", f"The definition has {len(text)} characters, more than {MAX_CHARACTERS}."
            )
        try:
            definitions.check(json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            raise AwsError("ValidationException", f"Unable to parse pipeline definition. {error!r}") from error
        return text

    def describe_pipeline(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        pipeline = self.pipeline(parameters["PipelineName"])
        started = self.last_run(pipeline)
        return {**public(pipeline), **({"LastRunTime": started} if started else {})}

    def last_run(self, pipeline: dict[str, Any]) -> Any:
        """Return when the newest execution of a pipeline started; None if it has none."""
        return max((run.started for run in self.executions.values() if run.pipeline is pipeline), default=None)

    def list_pipelines(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = (
            "PipelineArn",
            "PipelineName",
            "PipelineDisplayName",
            "PipelineDescription",
            "RoleArn",
            "CreationTime",
            "LastModifiedTime",
        )
        listed = [
            {key: p[key] for key in keys} | ({"LastExecutionTime": run} if (run := self.last_run(p)) else {})
            for p in list(self.pipelines.values())
        ]
        return page(listed, parameters, "PipelineSummaries")

    def delete_pipeline(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        pipeline = self.pipeline(parameters["PipelineName"])
        running = [e for e in self.executions.values() if e.pipeline is pipeline and e.status not in ENDED]
        if running:
            raise AwsError(
                "ConflictException", f"Pipeline {pipeline['PipelineName']} has an execution that is not finished"
            )
        self.executions = {arn: e for arn, e in self.executions.items() if e.pipeline is not pipeline}
        self.tags.pop(pipeline["PipelineArn"], None)
        del self.pipelines[pipeline["PipelineName"]]
        return {"PipelineArn": pipeline["PipelineArn"]}

    def pipeline(self, name: str) -> dict[str, Any]:
        for pipeline in self.pipelines.values():
            if name in (pipeline["PipelineName"], pipeline["PipelineArn"]):
                return pipeline
        raise AwsError("ResourceNotFound", f"Pipeline '{name}' does not exist.")

    # --- executions ----------------------------------------------------------------------------------------------

    def start_pipeline_execution(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        pipeline = self.pipeline(parameters["PipelineName"])
        token = parameters.get("ClientRequestToken")
        with self.changing:
            for execution in self.executions.values():
                if token and execution.pipeline is pipeline and execution.token == token:
                    return {"PipelineExecutionArn": execution.arn}
            execution = Execution(self, pipeline, parameters)
            self.executions[execution.arn] = execution
        adapter.in_background(execution.run)
        return {"PipelineExecutionArn": execution.arn}

    def stop_pipeline_execution(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        execution = self.execution(parameters)
        if execution.status != "Executing":
            raise AwsError(
                "ValidationException",
                f"Only pipelines with 'Executing' status can be stopped. {execution.arn} is {execution.status}.",
            )
        execution.stop()
        return {"PipelineExecutionArn": parameters["PipelineExecutionArn"]}

    def describe_pipeline_execution(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        execution = self.execution(parameters)
        answer = {
            **execution.summary(),
            "PipelineArn": execution.pipeline["PipelineArn"],
            "PipelineVersionId": execution.version,
            "RoleArn": execution.pipeline["RoleArn"],
            "CreationTime": execution.started,
            "LastModifiedTime": execution.modified,
        }
        if reason := answer.pop("PipelineExecutionFailureReason", ""):
            answer["FailureReason"] = reason
        return {name: value for name, value in answer.items() if name != "StartTime"}

    def list_pipeline_executions(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        pipeline = self.pipeline(parameters["PipelineName"])
        found = [e.summary() for e in self.executions.values() if e.pipeline is pipeline]
        return page(found, parameters, "PipelineExecutionSummaries")

    def list_pipeline_execution_steps(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        steps = [public(step) for step in self.execution(parameters).steps.values()]
        return page(steps, parameters, "PipelineExecutionSteps")

    def list_pipeline_parameters_for_execution(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        given = self.execution(parameters).given
        return page(
            [{"Name": name, "Value": str(value)} for name, value in given.items()], parameters, "PipelineParameters"
        )

    def describe_pipeline_definition_for_execution(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        execution = self.execution(parameters)
        return {"PipelineDefinition": execution.text, "CreationTime": execution.started}

    def execution(self, parameters: dict[str, Any]) -> "Execution":
        arn = parameters["PipelineExecutionArn"]
        if arn not in self.executions:
            raise AwsError("ResourceNotFound", f"Pipeline execution with ARN {arn} does not exist.")
        return self.executions[arn]


class Execution:
    """One execution of a pipeline."""

    def __init__(self, service: Any, pipeline: dict[str, Any], request: dict[str, Any]):
        self.service = service
        self.pipeline = pipeline
        number = request.get("PipelineVersionId", len(pipeline["versions"]))
        if number > len(pipeline["versions"]):
            raise AwsError(
                "ResourceNotFound", f"Pipeline version {number} of {pipeline['PipelineName']} does not exist."
            )
        self.version = number
        self.text = pipeline["versions"][number - 1]
        self.definition = json.loads(self.text)
        self.token = request.get("ClientRequestToken")
        self.given = {entry["Name"]: entry["Value"] for entry in request.get("PipelineParameters", [])}
        self.parameters = self.resolve_parameters()
        self.id = short_id(12)
        self.arn = f"{pipeline['PipelineArn']}/execution/{self.id}"
        self.name = request.get("PipelineExecutionDisplayName", f"execution-{self.id}")
        self.description = request.get("PipelineExecutionDescription", "")
        self.started = self.modified = now()
        self.status, self.failure = "Executing", ""
        self.stopping = threading.Event()
        self.steps: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self.lock = threading.Condition()
        self.emit_status_change("Executing")

    def emit_status_change(self, before: str) -> None:
        """Raise the event of a changed status.

        docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
        """
        detail = {
            "pipelineArn": self.pipeline["PipelineArn"],
            "pipelineExecutionArn": self.arn,
            "pipelineExecutionDisplayName": self.name,
            "currentPipelineExecutionStatus": self.status,
            "previousPipelineExecutionStatus": before,
            "executionStartTime": self.started.isoformat(),
        }
        kind = "SageMaker Model Building Pipeline Execution Status Change"
        adapter.raise_event("aws.sagemaker", kind, detail, [self.pipeline["PipelineArn"], self.arn])

    def resolve_parameters(self) -> dict[str, Any]:
        """Return the parameters: the defaults, overridden by the request.

        Raises ValidationException for one that is unknown, has no value, or has a value of another type or enum.
        """
        declared = {entry["Name"]: entry for entry in self.definition.get("Parameters", [])}
        unknown = [name for name in self.given if name not in declared]
        if unknown:
            raise AwsError(
                "ValidationException", f"Unknown parameters: {', '.join(unknown)}. Declared: {', '.join(declared)}."
            )
        values = {}
        for name, entry in declared.items():
            value = self.given.get(name, entry.get("DefaultValue"))
            if value is None:
                raise AwsError("ValidationException", f"Parameter {name} has no default and no value.")
            try:
                values[name] = PARAMETER_TYPES[entry.get("Type", "String")](value)
            except ValueError as error:
                raise AwsError(
                    "ValidationException", f"Parameter {name} is {value!r}, not of type {entry['Type']}."
                ) from error
            if "EnumValues" in entry and values[name] not in entry["EnumValues"]:
                raise AwsError(
                    "ValidationException", f"Parameter {name} is {value!r}, not one of {entry['EnumValues']}."
                )
        return values

    def summary(self) -> dict[str, Any]:
        return {
            "PipelineExecutionArn": self.arn,
            "StartTime": self.started,
            "PipelineExecutionStatus": self.status,
            "PipelineExecutionDisplayName": self.name,
            "PipelineExecutionDescription": self.description,
            **({"PipelineExecutionFailureReason": self.failure} if self.failure else {}),
        }

    def stop(self) -> None:
        """Stop every running job, and start no further step."""
        if self.status in ENDED:
            return
        self.status = "Stopping"
        self.stopping.set()
        for step in self.steps.values():
            if step["StepStatus"] == "Executing" and "job" in step:
                step["job"]["stop"].set()

    # --- running ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self.credentials = adapter.credentials_of(
                self.pipeline["RoleArn"], "SageMaker", "sagemaker.amazonaws.com", self.arn
            )
            self.client = adapter.client("sagemaker", self.credentials)
            self.run_steps(self.definition["Steps"])
        except Exception as error:
            self.failure = f"ClientError: {error}"
            adapter.write_log("/rehearsal/pipelines", self.id, traceback.format_exc().splitlines())
        if self.stopping.is_set():
            self.status = "Stopped"
        else:
            self.status = "Failed" if self.failure else "Succeeded"
        self.modified = now()
        self.emit_status_change("Stopping" if self.stopping.is_set() else "Executing")

    def run_steps(self, steps: list[dict[str, Any]]) -> None:
        """Run steps, each as soon as all that it depends on have succeeded, and wait until all have ended.

        Raises StepFailed if some can never start.
        """
        pending = {step["Name"]: step for step in steps}
        running: set[str] = set()

        def run_one(step: dict[str, Any]) -> None:
            self.run_step(step)
            with self.lock:
                running.discard(step["Name"])
                self.lock.notify_all()

        with self.lock:
            while pending or running:
                if self.failure or self.stopping.is_set():  # start nothing more, but wait for what runs
                    pending = {}
                for name, step in list(pending.items()):
                    needed = definitions.dependencies(step)
                    if all(self.steps.get(other, {}).get("StepStatus") == "Succeeded" for other in needed):
                        del pending[name]
                        running.add(name)
                        adapter.in_background(run_one, step)
                if pending and not running:
                    raise StepFailed(f"steps {', '.join(pending)} depend on steps that never run")
                if running:
                    self.lock.wait(0.5)

    def run_step(self, step: dict[str, Any]) -> None:
        record = {
            "StepName": step["Name"],
            "StartTime": now(),
            "StepStatus": "Executing",
            "AttemptCount": 1,
            "Metadata": {},
        }
        self.steps[step["Name"]] = record
        try:
            getattr(self, f"run_{step['Type'].lower()}")(step, record)
            record["StepStatus"] = "Stopped" if self.stopping.is_set() and record.get("stopped") else "Succeeded"
        except Exception as error:
            reason = str(error)
            if isinstance(error, botocore.exceptions.ClientError):
                reason = f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
            elif not isinstance(error, (StepFailed, AwsError, ValueError)):
                adapter.write_log("/rehearsal/pipelines", self.id, traceback.format_exc().splitlines())
            record |= {"StepStatus": "Failed", "FailureReason": reason[:1024]}
            self.failure = (
                self.failure or f"Step failure: One or multiple steps failed: {step['Name']}: {reason}"[:1300]
            )
        record.setdefault("EndTime", now())

    def run_training(self, step: dict[str, Any], record: dict[str, Any]) -> None:
        self.run_job("training", step, record)

    def run_processing(self, step: dict[str, Any], record: dict[str, Any]) -> None:
        self.run_job("processing", step, record)

    def run_tuning(self, step: dict[str, Any], record: dict[str, Any]) -> None:
        self.run_job("tuning", step, record)
        job = self.outputs[step["Name"]]
        name = {"HyperParameterTuningJobName": job["HyperParameterTuningJobName"]}
        maximize = job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["Type"] == "Maximize"
        best_first = {
            "SortBy": "FinalObjectiveMetricValue",
            "SortOrder": "Descending" if maximize else "Ascending",
            "MaxResults": 50,
        }
        listed = self.client.list_training_jobs_for_hyper_parameter_tuning_job(**name, **best_first)
        described = self.client.describe_hyper_parameter_tuning_job(**name)
        self.outputs[step["Name"]] = {**described, "TrainingJobSummaries": listed["TrainingJobSummaries"]}

    def run_job(self, kind: str, step: dict[str, Any], record: dict[str, Any]) -> None:
        """Start a job with the pipeline's role and wait for its end, or take the cached result of an earlier job.

        Raises StepFailed if the job fails.
        """
        title = KINDS[kind]
        arguments = self.resolve(step["Arguments"])
        check_members(f"Create{title}", arguments)
        key = self.cache_key(step, arguments)
        source = self.service.cache.get(key) if key else None
        if source:
            record["CacheHitResult"] = {"SourcePipelineExecutionArn": source["execution"]}
            job = source["job"]
        else:
            name = job_name(kind, self.id, step["Name"])
            getattr(self.client, xform_name(f"Create{title}"))(**{f"{title}Name": name}, **arguments)
            job = record["job"] = self.service.jobs[kind][name]
        record["Metadata"] = {f"{kind.title()}Job": {"Arn": job[f"{title}Arn"]}}
        job["ended"].wait()
        if not source:  # the pipeline's role needs the permission to describe the job, too
            getattr(self.client, xform_name(f"Describe{title}"))(**{f"{title}Name": job[f"{title}Name"]})
        status = job[f"{title}Status"]
        if status == "Failed":
            raise StepFailed(job["FailureReason"])
        if (
            job.get("SecondaryStatus") == "MaxRuntimeExceeded"
        ):  # AWS does not document the step's status: the strict one
            raise StepFailed(f"{title} {job[f'{title}Name']} was stopped: it reached MaxRuntimeInSeconds")
        record["stopped"] = status == "Stopped"
        self.outputs[step["Name"]] = job
        self.remember_property_files(step, job)
        if key and not source and status == "Completed":
            self.service.cache[key] = {"execution": self.arn, "job": job}

    def cache_key(self, step: dict[str, Any], arguments: dict[str, Any]) -> str | None:
        """Return a hash of the pipeline, the step's name and the arguments AWS compares; None if caching is off."""
        if not step.get("CacheConfig", {}).get("Enabled"):
            return None
        compared = {path: member_of(arguments, path) for path in CACHE_KEYS[step["Type"]]}
        text = json.dumps([self.pipeline["PipelineArn"], step["Name"], compared], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def remember_property_files(self, step: dict[str, Any], job: dict[str, Any]) -> None:
        """Load a processing step's property files, which later steps read with Std:JsonGet."""
        outputs = {
            o["OutputName"]: o["S3Output"]["S3Uri"] for o in job.get("ProcessingOutputConfig", {}).get("Outputs", [])
        }
        s3 = adapter.client("s3", self.credentials)
        for declared in step.get("PropertyFiles", []):
            bucket, key = objects.split(f"{outputs[declared['OutputName']].rstrip('/')}/{declared['FilePath']}")
            content = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            self.outputs.setdefault(f"{step['Name']}/files", {})[declared["PropertyFileName"]] = content

    def run_condition(self, step: dict[str, Any], record: dict[str, Any]) -> None:
        """Evaluate the conditions, and run the steps of the branch that they select."""
        arguments = step["Arguments"]
        met = all(self.holds(condition) for condition in arguments["Conditions"])
        record["Metadata"] = {"Condition": {"Outcome": "True" if met else "False"}}
        # The condition itself ends before its branch runs, since steps in the branch may depend on it.
        record |= {"StepStatus": "Succeeded", "EndTime": now()}
        self.run_steps(arguments.get("IfSteps" if met else "ElseSteps", []))

    def holds(self, condition: dict[str, Any]) -> bool:
        if condition["Type"] == "In":
            return self.resolve(condition["QueryValue"]) in self.resolve(condition["Values"])
        if condition["Type"] == "Not":
            return not self.holds(condition["Condition"])
        if condition["Type"] == "Or":
            return any(self.holds(inner) for inner in condition["Conditions"])
        return COMPARE[condition["Type"]](self.resolve(condition["LeftValue"]), self.resolve(condition["RightValue"]))

    def run_registermodel(self, step: dict[str, Any], record: dict[str, Any]) -> None:
        arguments = self.resolve(step["Arguments"])
        check_members("CreateModelPackage", arguments)
        arn = self.client.create_model_package(**arguments)["ModelPackageArn"]
        record["Metadata"] = {"RegisterModel": {"Arn": arn}}
        self.outputs[step["Name"]] = {"ModelPackageArn": arn}

    def run_fail(self, step: dict[str, Any], record: dict[str, Any]) -> None:
        message = self.resolve(step["Arguments"]["ErrorMessage"])
        record["Metadata"] = {"Fail": {"ErrorMessage": message}}
        raise StepFailed(message)

    # --- values ------------------------------------------------------------------------------------------------------

    def resolve(self, value: Any) -> Any:
        """Return a value with its references (Get) and functions (Std:Join, Std:JsonGet) evaluated, at any depth."""
        if isinstance(value, list):
            return [self.resolve(member) for member in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Get"}:
            return self.get(value["Get"])
        if set(value) == {"Std:Join"}:
            parts = [self.resolve(part) for part in value["Std:Join"]["Values"]]
            return value["Std:Join"]["On"].join(str(part) for part in parts)
        if set(value) == {"Std:JsonGet"}:
            step, _, name = (
                value["Std:JsonGet"]["PropertyFile"]["Get"].removeprefix("Steps.").partition(".PropertyFiles.")
            )
            return walk(self.outputs[f"{step}/files"][name], value["Std:JsonGet"]["Path"], f"{name} of {step}")
        return {name: self.resolve(member) for name, member in value.items()}

    def get(self, path: str) -> Any:
        """Return the value of a reference, e.g. "Parameters.Epochs", "Steps.Train.ModelArtifacts.S3ModelArtifacts"."""
        kind, _, rest = path.partition(".")
        if kind == "Parameters":
            return self.parameters[rest]
        if kind == "Execution":
            return {
                "PipelineExecutionId": self.id,
                "PipelineExecutionArn": self.arn,
                "PipelineName": self.pipeline["PipelineName"],
                "PipelineArn": self.pipeline["PipelineArn"],
                "StartDateTime": self.started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "CurrentDateTime": now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }[rest]
        step, _, member = rest.partition(".")
        return walk(self.outputs[step], member, f"step {step}")


def member_of(arguments: dict[str, Any], path: str) -> Any:
    """Return the member at a dotted path of names, or None if it is absent."""
    for name in path.split("."):
        arguments = (arguments or {}).get(name)
    return arguments


def walk(value: Any, path: str, where: str) -> Any:
    """Return the member of `value` at a path of names, [numbers] and ['keys'].

    In a list of outputs or channels, a key selects the one of that name. Raises StepFailed if there is no such member.
    """
    for name, number, key in re.findall(r"([A-Za-z0-9_-]+)|\[(\d+)\]|\[['\"]([^'\"]+)['\"]\]", path):
        try:
            if number:
                value = value[int(number)]
            elif key and isinstance(value, list):
                value = next(member for member in value if key in (member.get("OutputName"), member.get("ChannelName")))
            else:
                value = value[name or key]
        except (KeyError, IndexError, TypeError, StopIteration) as error:
            raise StepFailed(f"{path} is not in {where}") from error
    return value


def check_members(operation: str, arguments: dict[str, Any]) -> None:
    """Raise StepFailed for arguments that the operation's request does not have."""
    members = service_model("sagemaker").operation_model(operation).input_shape.members
    unknown = [name for name in arguments if name not in members]
    if unknown:
        raise StepFailed(f"{operation} has no parameter {', '.join(unknown)}")
