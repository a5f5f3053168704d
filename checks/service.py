"""The type system of a definition: the requests that create what a step makes, and what describes it afterwards.

Both are shapes of botocore's service model. What is needed of it is cut out once, so that the function that checks
needs neither botocore's 2 MB nor its version (python -m build package writes service.json beside this file).
"""

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CUT = Path(__file__).parent / "service.json"
Shape = dict[str, Any]

# The request of each step, and the shapes that references into the step are resolved in.
SAGEMAKER = {
    "Processing": ("CreateProcessingJob", ["DescribeProcessingJob"]),
    "Training": ("CreateTrainingJob", ["DescribeTrainingJob"]),
    "Tuning": (
        "CreateHyperParameterTuningJob",
        ["DescribeHyperParameterTuningJob", "ListTrainingJobsForHyperParameterTuningJob"],
    ),
    "Transform": ("CreateTransformJob", ["DescribeTransformJob"]),
    "Model": ("CreateModel", ["DescribeModel"]),
    "RegisterModel": ("CreateModelPackage", ["DescribeModelPackage"]),
    "EndpointConfig": ("CreateEndpointConfig", ["DescribeEndpointConfig"]),
    "Endpoint": ("CreateEndpoint", ["DescribeEndpoint"]),
    "AutoML": ("CreateAutoMLJob", ["DescribeAutoMLJob"]),
    "InferenceComponent": ("CreateInferenceComponent", ["DescribeInferenceComponent"]),
    "Job": ("CreateJob", ["DescribeJob"]),
}
# Steps that botocore's PipelineExecutionStepMetadata knows and the SDK does not write: their arguments are not checked.
UNCHECKED = (
    "Athena", "BedrockCustomModel", "BedrockCustomModelDeployment", "BedrockModelImport",
    "BedrockProvisionedModelThroughput", "HubContent",
)  # fmt: skip
# Pipelines gives these names itself unless it is told not to (PipelineDefinitionConfig).
NAMED_BY_PIPELINES = {
    "Processing": "ProcessingJobName",
    "Training": "TrainingJobName",
    "Tuning": "HyperParameterTuningJobName",
    "Transform": "TransformJobName",
    "Model": "ModelName",
    "EndpointConfig": "EndpointConfigName",
    "AutoML": "AutoMLJobName",
    "Job": "JobName",
}
# What Pipelines refuses, though the request has it: the SDK takes it out (model_step.py, automl_step.py).
NOT_IN_PIPELINES = {
    "RegisterModel": ("CertifyForMarketplace",),
    "AutoML": ("ModelDeployConfig", "GenerateCandidateDefinitionsOnly"),
}
BASELINES = ("CalculatedBaselineConstraints", "BaselineUsedForDriftCheckConstraints")
STATISTICS = ("CalculatedBaselineStatistics", "BaselineUsedForDriftCheckStatistics")


@dataclass(frozen=True)
class Service:
    """Shapes by name, the request of each type of step, and what its references are resolved in."""

    shapes: dict[str, Shape]
    requests: dict[str, str]
    responses: dict[str, list[str]]

    @classmethod
    @functools.cache
    def load(cls) -> "Service":
        """What was cut out, if it lies here; else out of botocore."""
        return cls(**json.loads(CUT.read_text())) if CUT.exists() else cls.cut()

    @classmethod
    def cut(cls) -> "Service":
        """Cut the shapes out of botocore's models of SageMaker, EMR and EMR Serverless."""
        import botocore.session

        session = botocore.session.get_session()
        sagemaker = session.get_service_model("sagemaker")
        shapes: dict[str, Shape] = {}
        requests, responses = {}, {}
        for kind, (create, describes) in SAGEMAKER.items():
            shape = sagemaker.operation_model(create).input_shape
            requests[kind] = f"{kind}Arguments"
            copy(sagemaker, shape.name, shapes)
            shapes[requests[kind]] = arguments(kind, shapes[shape.name])
            responses[kind] = [sagemaker.operation_model(name).output_shape.name for name in describes]
            for name in responses[kind]:
                copy(sagemaker, name, shapes)
        emr = session.get_service_model("emr")
        for name in ("StepConfig", "RunJobFlowInput", "Step"):
            copy(emr, name, shapes, "Emr")
        serverless = session.get_service_model("emr-serverless")
        for name in ("StartJobRunRequest", "CreateApplicationRequest", "GetJobRunResponse"):
            copy(serverless, name, shapes, "EmrServerless")
        for name in ("CreateActionRequest", "CreateArtifactRequest", "CreateContextRequest"):
            copy(sagemaker, name, shapes)
        shapes |= own_shapes(shapes)
        requests |= {
            "EMRServerless": "EMRServerlessArguments",
            "Lineage": "LineageArguments",
            "QualityCheck": requests["Processing"],
            "ClarifyCheck": requests["Processing"],
            "EMR": "EMRArguments",
        }
        responses["AutoML"].append("AutoMLReports")
        responses |= {
            "QualityCheck": ["QualityCheckResults"],
            "ClarifyCheck": ["ClarifyCheckResults"],
            "EMR": ["EmrStep", "EMRArguments"],
            "EMRServerless": ["EmrServerlessGetJobRunResponse"],
            "Lineage": ["LineageResults"],
            "Condition": ["ConditionOutcome"],
        }
        return cls(shapes, requests, responses)

    def text(self) -> str:
        """As JSON, for service.json: equal models give equal bytes."""
        return json.dumps(vars(self), sort_keys=True, separators=(",", ":"))


def copy(model: Any, name: str, shapes: dict[str, Shape], prefix: str = "") -> None:
    """Copy a shape, and those that it is made of, without their documentation."""
    if prefix + name in shapes:
        return
    source = model.shape_for(name)
    wanted = model._shape_resolver._shape_map[name]  # what shape_for answers hides patterns and limits
    shape = {
        key: wanted[key] for key in ("type", "required", "enum", "min", "max", "pattern", "union") if key in wanted
    }
    shapes[prefix + name] = shape
    if source.type_name == "structure":
        shape["members"] = {member: prefix + inner["shape"] for member, inner in wanted["members"].items()}
        inner_names = [inner["shape"] for inner in wanted["members"].values()]
    else:
        inner = {key: wanted[key]["shape"] for key in ("member", "key", "value") if key in wanted}
        shape |= {key: prefix + value for key, value in inner.items()}
        inner_names = list(inner.values())
    for inner_name in inner_names:
        copy(model, inner_name, shapes, prefix)


def arguments(kind: str, request: Shape) -> Shape:
    """A request as a step has it: the name is optional, and some of it is not to be had."""
    named, unavailable = NAMED_BY_PIPELINES.get(kind), NOT_IN_PIPELINES.get(kind, ())
    return {
        **request,
        "required": [name for name in request.get("required", []) if name != named],
        "members": {name: shape for name, shape in request["members"].items() if name not in unavailable},
    }


def own_shapes(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes that no service model has: arguments and properties that Pipelines makes up.

    Sources: the SDK's emr_step.py, emr_serverless_step.py, lineage_step.py and automl_step.py.
    """
    step, flow = shapes["EmrStepConfig"], shapes["EmrRunJobFlowInput"]
    run, application = shapes["EmrServerlessStartJobRunRequest"], shapes["EmrServerlessCreateApplicationRequest"]

    def without(shape: Shape, *names: str) -> Shape:
        return {
            **shape,
            "required": [name for name in shape.get("required", []) if name not in names],
            "members": {name: inner for name, inner in shape["members"].items() if name not in names},
        }

    def of_strings(*names: str, kind: str = "Address") -> Shape:
        return {"type": "structure", "members": dict.fromkeys(names, kind)}

    return {
        "Text": {"type": "string"},
        "Address": {"type": "string", "pattern": "s3://.+"},
        "EMRStepOfPipeline": without(step, "Name"),
        "EMRClusterOfPipeline": without(flow, "Name", "Steps", "AutoTerminationPolicy"),
        "EMRArguments": {
            "type": "structure",
            "required": ["StepConfig"],
            "members": {
                "ClusterId": "Text",
                "ExecutionRoleArn": "Text",
                "StepConfig": "EMRStepOfPipeline",
                "ClusterConfig": "EMRClusterOfPipeline",
            },
        },
        "EMRServerlessRun": {**without(run, "clientToken"), "required": []},
        "EMRServerlessApplication": without(application, "clientToken"),
        "EMRServerlessArguments": {
            "type": "structure",
            "required": ["ExecutionRoleArn", "JobConfig"],
            "members": {
                "ApplicationId": "Text",
                "ApplicationConfig": "EMRServerlessApplication",
                "ExecutionRoleArn": "Text",
                "JobConfig": "EMRServerlessRun",
            },
        },
        "LineageArguments": {
            "type": "structure",
            "members": {
                "Actions": "LineageActions",
                "Artifacts": "LineageArtifacts",
                "Contexts": "LineageContexts",
                "Associations": "LineageAssociations",
            },
        },
        "LineageActions": {"type": "list", "member": "CreateActionRequest"},
        "LineageArtifacts": {"type": "list", "member": "CreateArtifactRequest"},
        "LineageContexts": {"type": "list", "member": "CreateContextRequest"},
        "LineageAssociations": {"type": "list", "member": "LineageAssociation"},
        "LineageAssociation": {
            "type": "structure",
            "required": ["Source", "Destination"],
            "members": {"Source": "LineageEntity", "Destination": "LineageEntity", "AssociationType": "Text"},
        },
        "LineageEntity": of_strings("Arn", "Name", "Type", kind="Text"),
        "LineageResults": of_strings("ActionArns", "ArtifactArns", "ContextArns", kind="LineageArns"),
        "LineageArns": {"type": "map", "key": "Text", "value": "Text"},
        "QualityCheckResults": of_strings(*BASELINES, *STATISTICS),
        "ClarifyCheckResults": of_strings(*BASELINES),
        "ConditionOutcome": of_strings("Outcome", kind="Text"),
        "AutoMLReports": {"type": "structure", "members": {"BestCandidateProperties": "AutoMLReportPaths"}},
        "AutoMLReportPaths": of_strings("ModelInsightsJsonReportPath", "ExplainabilityJsonReportPath"),
    }


@functools.cache
def pattern_of(text: str) -> re.Pattern[str] | None:
    """A pattern of the model for Python, or None for one that cannot be had.

    They are Java's, and have to match all of a value. Classes such as \\p{L} become the nearest of Python's, never a
    narrower one.
    """
    classes = {"L": r"\w", "N": r"\d", "Z": r"\s", "M": r"\W", "S": r"\W", "P": r"\W", "Alnum": "a-zA-Z0-9"}
    text = re.sub(r"\\p\{(\w+)\}", lambda found: classes[found.group(1)], text)
    text = re.sub(r"\$\{\d+,\d+\}$", "", text)  # a slip in two patterns: the limits stand beside them
    try:
        return re.compile(text)
    except re.error:
        return None
