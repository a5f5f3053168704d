"""What the SageMaker SDK needs to write a definition offline, and the steps that it lacks. Import it before the SDK.

The definition is built without a request to AWS, and equal inputs give the same bytes on any machine. What has to be done
to the SDK for that stands here, each with its reason.
"""

import gc
import logging
import os
import tomllib
import warnings
from pathlib import Path
from typing import Any

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

gc.disable()  # the program runs for two seconds; garbage collection would add another
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

from sagemaker.core.telemetry import telemetry_logging
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.mlops.workflow.steps import ConfigurableRetryStep, StepTypeEnum, TrainingStep, TuningStep

from spotkit.definition import bundle

# Disable telemetry, which would look up the account's id. The SDK's own opt-out is slower: with it, every look-up of a
# default validates a configuration.
telemetry_logging._send_telemetry_request = lambda *event: None


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


def finished(definition: dict[str, Any], pyproject: Path = bundle.ROOT / "pyproject.toml") -> dict[str, Any]:
    """Return a definition without null members, and with the rules that [tool.spotkit.silenced] of pyproject.toml names.

    The check of definitions (spotkit/checks/rulebook.py) reads them in the definition's metadata.
    """
    settings = tomllib.loads(pyproject.read_text()).get("tool", {}).get("spotkit", {})
    silenced = {"Metadata": {"silenced": settings["silenced"]}} if settings.get("silenced") else {}
    return without_nulls(definition) | silenced


def without_nulls(value: Any) -> Any:
    """Return a value without its null members: the SDK writes null for some unset fields, such as MlflowConfig."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
