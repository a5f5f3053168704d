"""Write a definition with the steps that no seed has, by the SageMaker SDK: python tests/sdk_definition.py"""

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
from sagemaker.core.telemetry import telemetry_logging
from sagemaker.core.transformer import Transformer
from sagemaker.core.workflow.conditions import ConditionEquals, ConditionIn, ConditionNot, ConditionOr
from sagemaker.core.workflow.functions import Join
from sagemaker.core.workflow.parameters import ParameterString
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.mlops.workflow.callback_step import CallbackOutput, CallbackOutputTypeEnum, CallbackStep
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.emr_step import EMRStep, EMRStepConfig
from sagemaker.mlops.workflow.endpoint_step import EndpointConfigStep, EndpointStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.lambda_step import LambdaOutput, LambdaOutputTypeEnum, LambdaStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import CacheConfig, TransformStep

telemetry_logging._send_telemetry_request = lambda *event: None
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
    steps = [ask, wait, spark, transform, config, endpoint, gate]
    return Pipeline(name="all", parameters=[data], steps=steps, sagemaker_session=session)


if __name__ == "__main__":
    print(pipeline(PipelineSession()).definition())
