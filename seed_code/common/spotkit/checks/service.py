"""The types of a definition: the shapes of each step's API request and of the responses that references resolve in.

The shapes come from botocore's service model. `python -m build package` writes those that are needed to service.json
beside this file, so that the Lambda function needs neither botocore's 2 MB nor a certain version of it.
"""

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CUT = Path(__file__).parent / "service.json"
Shape = dict[str, Any]

# By type of step: the operation whose request its arguments are, and the operations whose responses its references
# resolve in.
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
# Steps in botocore's PipelineExecutionStepMetadata that the SDK cannot write: their arguments are not checked.
UNCHECKED = (
    "Athena", "BedrockCustomModel", "BedrockCustomModelDeployment", "BedrockModelImport",
    "BedrockProvisionedModelThroughput", "HubContent",
)  # fmt: skip
# Names that Pipelines generates unless PipelineDefinitionConfig says otherwise, so that they are optional in a step.
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
# Members of the request that Pipelines rejects: the SDK removes them (model_step.py, automl_step.py).
NOT_IN_PIPELINES = {
    "RegisterModel": ("CertifyForMarketplace",),
    "AutoML": ("ModelDeployConfig", "GenerateCandidateDefinitionsOnly"),
}
BASELINES = ("CalculatedBaselineConstraints", "BaselineUsedForDriftCheckConstraints")
STATISTICS = ("CalculatedBaselineStatistics", "BaselineUsedForDriftCheckStatistics")


@dataclass(frozen=True)
class Service:
    """Shapes by name, and by type of step the shape of its request and the shapes that its references resolve in."""

    shapes: dict[str, Shape]
    requests: dict[str, str]
    responses: dict[str, list[str]]

    @classmethod
    @functools.cache
    def load(cls) -> "Service":
        """Load service.json if it is there, else build the same from botocore."""
        return cls(**json.loads(CUT.read_text())) if CUT.exists() else cls.cut()

    @classmethod
    def cut(cls) -> "Service":
        """Extract the shapes from botocore's models of SageMaker, EMR and EMR Serverless."""
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
        """Return the JSON of service.json, which is deterministic: equal models give equal bytes."""
        return json.dumps(vars(self), sort_keys=True, separators=(",", ":"))


def copy(model: Any, name: str, shapes: dict[str, Shape], prefix: str = "") -> None:
    """Copy a shape and, recursively, the shapes of its members into `shapes`, without their documentation."""
    if prefix + name in shapes:
        return
    source = model.shape_for(name)
    wanted = model._shape_resolver._shape_map[name]  # shape_for hides patterns and limits
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
    """Return a request as a step's arguments: the name optional, without the members that Pipelines rejects."""
    named, unavailable = NAMED_BY_PIPELINES.get(kind), NOT_IN_PIPELINES.get(kind, ())
    return {
        **request,
        "required": [name for name in request.get("required", []) if name != named],
        "members": {name: shape for name, shape in request["members"].items() if name not in unavailable},
    }


def own_shapes(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Return the shapes of arguments and properties that only Pipelines has, and no service model.

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
    """Compile a pattern of the service model, or return None if Python cannot compile it.

    The patterns have Java's syntax and apply to a complete value (use fullmatch). Classes such as \\p{L} become the
    nearest class that Python has, never a narrower one.
    """
    classes = {"L": r"\w", "N": r"\d", "Z": r"\s", "M": r"\W", "S": r"\W", "P": r"\W", "Alnum": "a-zA-Z0-9"}
    text = re.sub(r"\\p\{(\w+)\}", lambda found: classes[found.group(1)], text)
    # A typo in CustomerMetadataKey and CustomerMetadataValue: "${1,128}" and "${1,256}" repeat their min and max.
    text = re.sub(r"\$\{\d+,\d+\}$", "", text)
    try:
        return re.compile(text)
    except re.error:
        return None
