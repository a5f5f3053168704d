"""Print a pipeline definition that the SageMaker SDK writes, with the step types that no seed uses.

Run it with: python tests/sdk_definition.py
"""

import logging
import os
import warnings

os.environ.update(
    AWS_DEFAULT_REGION="us-east-1",
    AWS_ACCESS_KEY_ID="unused",
    AWS_SECRET_ACCESS_KEY="unused",
    AWS_EC2_METADATA_DISABLED="true",
    SAGEMAKER_ADMIN_CONFIG_OVERRIDE=os.devnull,
    SAGEMAKER_USER_CONFIG_OVERRIDE=os.devnull,
)
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

from sagemaker.core.lambda_helper import Lambda
from sagemaker.core.lineage import Action, Artifact
from sagemaker.core.telemetry import telemetry_logging
from sagemaker.core.transformer import Transformer
from sagemaker.core.workflow.conditions import (
    ConditionEquals,
    ConditionGreaterThan,
    ConditionIn,
    ConditionNot,
    ConditionOr,
)
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import ParameterString
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.mlops.workflow.callback_step import CallbackOutput, CallbackOutputTypeEnum, CallbackStep
from sagemaker.mlops.workflow.cleanup_step import CleanupStep, S3CleanupSource
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.emr_serverless_step import EMRServerlessJobConfig, EMRServerlessStep
from sagemaker.mlops.workflow.emr_step import EMRStep, EMRStepConfig
from sagemaker.mlops.workflow.endpoint_step import EndpointConfigStep, EndpointStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.for_each_step import CurrentItem, ForEachSelector, ForEachStep, IterationOutput
from sagemaker.mlops.workflow.inference_component_step import InferenceComponentStep
from sagemaker.mlops.workflow.lambda_step import LambdaOutput, LambdaOutputTypeEnum, LambdaStep
from sagemaker.mlops.workflow.lineage_step import LineageAssociation, LineageEntityReference, LineageStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.step_dependency import StepDependency, TriggerCondition
from sagemaker.mlops.workflow.steps import CacheConfig, TransformStep

telemetry_logging._send_telemetry_request = lambda *event: None
ROLE = "arn:aws:iam::111122223333:role"
BUCKET = "s3://sagemaker-p-example-111122223333"


def pipeline(session: PipelineSession) -> Pipeline:
    data = ParameterString("Data", f"{BUCKET}/data")
    ask = LambdaStep(
        "Ask",
        lambda_func=Lambda(function_arn="arn:aws:lambda:us-east-1:111122223333:function:ask"),
        inputs={"data": data, "count": 1},
        outputs=[
            LambdaOutput("count", LambdaOutputTypeEnum.Integer),
            LambdaOutput("where", LambdaOutputTypeEnum.String),
        ],
        cache_config=CacheConfig(enable_caching=True, expire_after="PT1H"),
    )
    wait = CallbackStep(
        "Wait",
        sqs_queue_url="https://sqs.us-east-1.amazonaws.com/111122223333/wait",
        inputs={"count": ask.properties.Outputs["count"]},
        outputs=[CallbackOutput("ok", CallbackOutputTypeEnum.Boolean)],
    )
    job = EMRStepConfig(jar=f"{BUCKET}/job.jar", args=["--days", "1"], properties=[{"Key": "memory", "Value": "1g"}])
    spark = EMRStep("Spark", "Spark", "Counts words", cluster_id="j-1ABCDEFGHIJKL", step_config=job)
    machines = {"instance_count": 1, "instance_type": "ml.m5.xlarge", "output_path": f"{BUCKET}/out"}
    transformer = Transformer("model", base_transform_job_name="batch", sagemaker_session=session, **machines)
    transform = TransformStep("Transform", step_args=transformer.transform(data, content_type="text/csv"))
    variant = {"VariantName": "All", "ModelName": "model", "InitialInstanceCount": 1, "InstanceType": "ml.m5.xlarge"}
    config = EndpointConfigStep("Config", session.create_endpoint_config("config", [variant]))
    endpoint = EndpointStep(
        "Endpoint",
        session.create_endpoint(endpoint_name="endpoint", config_name=config.properties.EndpointConfigName),
    )
    elsewhere = ConditionNot(ConditionIn(ask.properties.Outputs["where"], ["here", "there"]))
    gate = ConditionStep(
        "Gate",
        conditions=[ConditionOr([ConditionEquals(wait.properties.Outputs["ok"], True), elsewhere])],
        if_steps=[],
        else_steps=[FailStep("Fail", Join("", ["counted ", ask.properties.Outputs["count"]]))],
    )
    steps = [ask, wait, spark, transform, config, endpoint, gate, *newer(session, ask, transform, gate)]
    return Pipeline(name="all", parameters=[data], steps=steps, sagemaker_session=session)


def newer(session: PipelineSession, ask: LambdaStep, transform: TransformStep, gate: ConditionStep) -> list:
    """Return the steps whose types were added in version 3 of the SDK."""
    serverless = EMRServerlessStep(
        "Serverless",
        "Serverless",
        "Counts words",
        EMRServerlessJobConfig({"sparkSubmit": {"entryPoint": f"{BUCKET}/job.py"}}, f"{ROLE}/emr"),
        application_config={"releaseLabel": "emr-7.0.0", "type": "SPARK"},
    )
    each = LambdaStep(
        "Each",
        lambda_func=Lambda(function_arn="arn:aws:lambda:us-east-1:111122223333:function:each"),
        inputs={"item": CurrentItem(), "name": CurrentItem().name, "score": CurrentItem()["score"]},
        outputs=[LambdaOutput("score", LambdaOutputTypeEnum.Float)],
    )
    best = ForEachSelector("MaxBy", IterationOutput(each).OutputParameters["score"])
    items = ForEachStep("Items", [ask.properties.Outputs["where"], "b"], 5, [each], best)
    first = items.properties.IterationOutputs[0].Each.OutputParameters["score"]
    report = Join("/", [BUCKET, ExecutionVariables.PIPELINE_EXECUTION_ID, "report.json"])
    judge = ConditionStep(
        "Judge",
        conditions=[
            ConditionGreaterThan(first, 0.5),
            ConditionGreaterThan(items.properties.Selected.OutputParameters["score"], 0.5),
            ConditionGreaterThan(items.properties.SucceededStepCount, 1),
            ConditionEquals(JsonGet(s3_uri=report, json_path="metrics.accuracy"), 1.0),
            ConditionEquals(gate.properties.Outcome, "True"),
        ],
        if_steps=[],
        else_steps=[],
    )
    component = InferenceComponentStep(
        "Component",
        session.create_inference_component(
            inference_component_name="component",
            endpoint_name="endpoint",
            variant_name="All",
            specification={"ModelName": "model"},
        ),
    )
    action = Action.create(
        action_name="training", source_uri=f"{BUCKET}/run", action_type="ModelTraining", sagemaker_session=session
    )
    artifact = Artifact.create(
        artifact_name="model", source_uri=f"{BUCKET}/model", artifact_type="Model", sagemaker_session=session
    )
    produced = LineageAssociation(
        LineageEntityReference("training", "Action"), LineageEntityReference("model", "Artifact"), "Produced"
    )
    lineage = LineageStep("Lineage", action, artifact, associations=[produced])
    cleanup = CleanupStep(
        "Cleanup",
        [S3CleanupSource(transform, [f"{BUCKET}/out/a.csv"])],
        depends_on=[StepDependency(transform, TriggerCondition.ANY)],
    )
    return [serverless, items, judge, component, lineage, cleanup]


if __name__ == "__main__":
    print(pipeline(PipelineSession()).definition())
