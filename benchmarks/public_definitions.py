"""Pipeline definitions of AWS's documentation, reconstructed from its pages.

The abalone pipeline: docs.aws.amazon.com/sagemaker/latest/dg/define-pipeline.html. Steps of the other types:
docs.aws.amazon.com/sagemaker/latest/dg/build-and-manage-steps-types.html.
"""

from typing import Any

ROLE = "arn:aws:iam::111122223333:role/service-role/AmazonSageMaker-ExecutionRole-20240101T000001"
BUCKET = "sagemaker-us-east-1-111122223333"
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
MONITOR = "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer"
CLARIFY = "205585389593.dkr.ecr.us-east-1.amazonaws.com/sagemaker-clarify-processing:1.0"


def get(path: str) -> dict[str, str]:
    return {"Get": path}


def parameter(name: str, kind: str, default: Any, **more: Any) -> dict[str, Any]:
    return {"Name": name, "Type": kind, "DefaultValue": default, **more}


def s3_input(name: str, uri: Any, path: str) -> dict[str, Any]:
    source = {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    source |= {"S3DataDistributionType": "FullyReplicated", "S3CompressionType": "None"}
    return {"InputName": name, "AppManaged": False, "S3Input": source}


def s3_output(name: str, uri: Any) -> dict[str, Any]:
    path = f"/opt/ml/processing/{name}"
    return {
        "OutputName": name,
        "AppManaged": False,
        "S3Output": {"S3Uri": uri, "LocalPath": path, "S3UploadMode": "EndOfJob"},
    }


def processing(name: str, inputs: list[Any], outputs: list[Any], image: str = XGBOOST, **more: Any) -> dict[str, Any]:
    cluster = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "ProcessingResources": {"ClusterConfig": cluster},
            "AppSpecification": {"ImageUri": image, "ContainerEntrypoint": ["python3", f"/opt/ml/{name}.py"]},
            "RoleArn": ROLE,
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {"Outputs": outputs},
        },
        **more,
    }


def channel(name: str, uri: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"DataSource": {"S3DataSource": source}, "ContentType": "text/csv", "ChannelName": name}


def split(name: str) -> dict[str, str]:
    return get(f"Steps.AbaloneProcess.ProcessingOutputConfig.Outputs['{name}'].S3Output.S3Uri")


def training_arguments() -> dict[str, Any]:
    return {
        "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": XGBOOST},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/AbaloneTrain"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
        "ResourceConfig": {
            "VolumeSizeInGB": 30,
            "InstanceCount": 1,
            "InstanceType": get("Parameters.TrainingInstanceType"),
        },
        "RoleArn": ROLE,
        "InputDataConfig": [channel("train", split("train")), channel("validation", split("validation"))],
    }


def definition(parameters: list[Any], steps: list[Any]) -> dict[str, Any]:
    experiment = {"ExperimentName": get("Execution.PipelineName"), "TrialName": get("Execution.PipelineExecutionId")}
    return {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": parameters,
        "PipelineExperimentConfig": experiment,
        "Steps": steps,
    }


def process() -> dict[str, Any]:
    inputs = [s3_input("input-1", get("Parameters.InputData"), "/opt/ml/processing/input")]
    return processing(
        "AbaloneProcess",
        inputs,
        [s3_output(name, f"s3://{BUCKET}/AbaloneProcess/{name}") for name in ("train", "validation", "test")],
    )


def abalone() -> dict[str, Any]:
    """Return the abalone pipeline: preprocess, train, evaluate; register, create and batch-transform a good model."""
    artifacts = get("Steps.AbaloneTrain.ModelArtifacts.S3ModelArtifacts")
    train = {"Name": "AbaloneTrain", "Type": "Training", "Arguments": training_arguments()}
    train["Arguments"]["HyperParameters"] = {"objective": "reg:linear", "num_round": "50", "max_depth": "5"}
    evaluate = processing(
        "AbaloneEval",
        [
            s3_input("input-1", artifacts, "/opt/ml/processing/model"),
            s3_input("input-2", split("test"), "/opt/ml/test"),
        ],
        [s3_output("evaluation", f"s3://{BUCKET}/AbaloneEval/evaluation")],
        PropertyFiles=[
            {"PropertyFileName": "EvaluationReport", "OutputName": "evaluation", "FilePath": "evaluation.json"}
        ],
        CacheConfig={"Enabled": True, "ExpireAfter": "30dT5h"},
    )
    container = {"Image": XGBOOST, "ModelDataUrl": artifacts}
    statistics = {"ContentType": "application/json", "S3Uri": f"s3://{BUCKET}/AbaloneEval/evaluation/evaluation.json"}
    register = {
        "Name": "AbaloneRegisterModel",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": "AbaloneModelPackageGroupName",
            "ModelMetrics": {"ModelQuality": {"Statistics": statistics}, "Bias": {}, "Explainability": {}},
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
                "SupportedRealtimeInferenceInstanceTypes": ["ml.t2.medium", "ml.m5.xlarge"],
                "SupportedTransformInstanceTypes": ["ml.m5.xlarge"],
            },
            "ModelApprovalStatus": get("Parameters.ModelApprovalStatus"),
        },
    }
    create = {
        "Name": "AbaloneCreateModel",
        "Type": "Model",
        "Arguments": {"ExecutionRoleArn": ROLE, "PrimaryContainer": {**container, "Environment": {}}},
    }
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": get("Parameters.BatchData")}}
    transform = {
        "Name": "AbaloneTransform",
        "Type": "Transform",
        "Arguments": {
            "ModelName": get("Steps.AbaloneCreateModel.ModelName"),
            "TransformInput": {"DataSource": source},
            "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/AbaloneTransform"},
            "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge"},
        },
    }
    report = {"PropertyFile": get("Steps.AbaloneEval.PropertyFiles.EvaluationReport")}
    report |= {"Path": "regression_metrics.mse.value"}
    message = {"Std:Join": {"On": " ", "Values": ["Execution failed due to MSE >", get("Parameters.MseThreshold")]}}
    gate = {
        "Name": "AbaloneMSECond",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [
                {
                    "Type": "LessThanOrEqualTo",
                    "LeftValue": {"Std:JsonGet": report},
                    "RightValue": get("Parameters.MseThreshold"),
                }
            ],
            "IfSteps": [register, create, transform],
            "ElseSteps": [{"Name": "AbaloneMSEFail", "Type": "Fail", "Arguments": {"ErrorMessage": message}}],
        },
    }
    return definition(
        [
            parameter("TrainingInstanceType", "String", "ml.m5.xlarge"),
            parameter("ModelApprovalStatus", "String", "PendingManualApproval"),
            parameter("InputData", "String", f"s3://{BUCKET}/abalone/abalone-dataset.csv"),
            parameter("BatchData", "String", f"s3://{BUCKET}/abalone/abalone-dataset-batch"),
            parameter("MseThreshold", "Float", 6.0),
        ],
        [process(), train, evaluate, gate],
    )


def tuning() -> dict[str, Any]:
    """Return a pipeline with a Tuning step and a Model step for its best training job."""
    job = training_arguments()
    job["StaticHyperParameters"] = {"objective": "reg:linear", "num_round": "50"}
    bounds = {"MinValue": "0", "MaxValue": "0.5", "ScalingType": "Auto"}
    config = {
        "Strategy": "Bayesian",
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 9, "MaxParallelTrainingJobs": 3},
        "TrainingJobEarlyStoppingType": "Auto",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:rmse"},
        "ParameterRanges": {
            "ContinuousParameterRanges": [{"Name": "eta", **bounds}],
            "CategoricalParameterRanges": [],
            "IntegerParameterRanges": [],
        },
    }
    best = {
        "Std:Join": {
            "On": "/",
            "Values": [
                f"s3://{BUCKET}/AbaloneTrain",
                get("Steps.AbaloneTune.TrainingJobSummaries[0].TrainingJobName"),
                "output/model.tar.gz",
            ],
        }
    }
    create = {
        "Name": "BestModel",
        "Type": "Model",
        "Arguments": {"ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": XGBOOST, "ModelDataUrl": best}},
    }
    arguments = {"HyperParameterTuningJobConfig": config, "TrainingJobDefinition": job}
    return definition(
        [
            parameter("TrainingInstanceType", "String", "ml.m5.xlarge"),
            parameter("InputData", "String", f"s3://{BUCKET}/abalone/abalone-dataset.csv"),
        ],
        [process(), {"Name": "AbaloneTune", "Type": "Tuning", "Arguments": arguments}, create],
    )


def quality() -> dict[str, Any]:
    """Return a pipeline with QualityCheck, ClarifyCheck and AutoML steps that registers a model with their results."""
    check = processing("DataQuality", [], [], image=MONITOR)
    check["Arguments"]["ProcessingInputs"] = [s3_input("baseline", get("Parameters.InputData"), "/opt/ml/baseline")]
    check["Arguments"]["ProcessingOutputConfig"]["Outputs"] = [s3_output("result", f"s3://{BUCKET}/DataQuality")]
    check |= {"Type": "QualityCheck", "CheckType": "DATA_QUALITY", "ModelPackageGroupName": "Abalone"}
    check |= {"SkipCheck": get("Parameters.SkipCheck"), "FailOnViolation": False, "RegisterNewBaseline": True}
    check |= {"SuppliedBaselineStatistics": None, "SuppliedBaselineConstraints": get("Parameters.Supplied")}
    bias = {**check, "Name": "DataBias", "Type": "ClarifyCheck", "CheckType": "DATA_BIAS"}
    bias["Arguments"] = {**check["Arguments"], "AppSpecification": {"ImageUri": CLARIFY}}
    del bias["SuppliedBaselineStatistics"]
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": get("Parameters.InputData")}}
    automl = {
        "Name": "AutoMLTraining",
        "Type": "AutoML",
        "Arguments": {
            "InputDataConfig": [{"DataSource": source, "TargetAttributeName": "income"}],
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/automl"},
            "AutoMLJobConfig": {"Mode": "ENSEMBLING"},
            "RoleArn": ROLE,
            "ProblemType": "BinaryClassification",
            "AutoMLJobObjective": {"MetricName": "F1"},
        },
    }

    def file(uri: str) -> dict[str, Any]:
        return {"ContentType": "application/json", "S3Uri": get(uri)}

    drift = {
        "ModelDataQuality": {
            "Statistics": file("Steps.DataQuality.BaselineUsedForDriftCheckStatistics"),
            "Constraints": file("Steps.DataQuality.BaselineUsedForDriftCheckConstraints"),
        },
        "Bias": {"PreTrainingConstraints": file("Steps.DataBias.BaselineUsedForDriftCheckConstraints")},
    }
    metrics = {
        "Explainability": {"Report": file("Steps.AutoMLTraining.BestCandidateProperties.ExplainabilityJsonReportPath")}
    }
    container = get("Steps.AutoMLTraining.BestCandidate.InferenceContainers[0].Image")
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": "Abalone",
            "DriftCheckBaselines": drift,
            "ModelMetrics": metrics,
            "InferenceSpecification": {
                "Containers": [{"Image": container}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        },
    }
    return definition(
        [
            parameter("InputData", "String", f"s3://{BUCKET}/income.csv"),
            parameter("SkipCheck", "Boolean", False),
            parameter("Supplied", "String", f"s3://{BUCKET}/constraints.json"),
        ],
        [check, bias, automl, register],
    )


PUBLIC = {"abalone": abalone, "tuning": tuning, "quality": quality}
