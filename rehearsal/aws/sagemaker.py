"""Emulate SageMaker: domains, projects, jobs, pipelines, model registry and endpoints behind one API."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rehearsal.aws import adapter
from rehearsal.aws.domains import Domains
from rehearsal.aws.endpoints import Endpoints
from rehearsal.aws.jobs import KINDS, Jobs
from rehearsal.aws.pipelines import Pipelines
from rehearsal.aws.projects import Projects
from rehearsal.aws.protocol import Caller, Service
from rehearsal.aws.registry import Registry
from rehearsal.aws.tuning import Tunings

# Which parameter names the resource of an operation, and its ARN. The first that a request has counts.
RESOURCES = {
    "PipelineExecutionArn": "{}",
    "ModelPackageArn": "{}",
    "ResourceArn": "{}",
    "ModelPackageGroupName": "arn:aws:sagemaker:{region}:{account}:model-package-group/{}",
    "ModelPackageName": "arn:aws:sagemaker:{region}:{account}:model-package/{}",
    "PipelineName": "arn:aws:sagemaker:{region}:{account}:pipeline/{}",
    "ProjectName": "arn:aws:sagemaker:{region}:{account}:project/{}",
    "TrainingJobName": "arn:aws:sagemaker:{region}:{account}:training-job/{}",
    "HyperParameterTuningJobName": "arn:aws:sagemaker:{region}:{account}:hyper-parameter-tuning-job/{}",
    "ProcessingJobName": "arn:aws:sagemaker:{region}:{account}:processing-job/{}",
    "EndpointName": "arn:aws:sagemaker:{region}:{account}:endpoint/{}",
    "EndpointConfigName": "arn:aws:sagemaker:{region}:{account}:endpoint-config/{}",
    "ModelName": "arn:aws:sagemaker:{region}:{account}:model/{}",
}
# Operations that IAM evaluates on "*", whatever their parameters (docs.aws.amazon.com/service-authorization).
WITHOUT_RESOURCE = re.compile(r"^List(?!PipelineExecution|PipelineParameters|Tags|TrainingJobsFor)")


class SageMaker(Service, Domains, Projects, Jobs, Tunings, Pipelines, Registry, Endpoints):
    """The control plane of SageMaker, and InvokeEndpoint of its runtime."""

    name = "sagemaker"
    target_prefix = "SageMaker."

    def __init__(self, folder: Path, catalog: Any):
        super().__init__()
        self.folder = folder
        self.tags = {}
        self.start_domains()
        self.start_projects(catalog)
        self.start_jobs()
        self.start_pipelines()
        self.start_registry()
        self.start_endpoints()
        adapter.add_tags(self.name, self.tagged)

    def tagged(self) -> Iterator[tuple[str, list[dict[str, str]]]]:
        """Yield the ARN that policies are evaluated against, in lower case, and the tags of each resource."""
        yield from list(self.tags.items())
        for kind, jobs in self.jobs.items():
            for job in list(jobs.values()):
                yield job[f"{KINDS[kind]}Arn"].lower(), job.get("Tags", [])

    def resource_of(self, operation: str, parameters: dict[str, Any], path: str) -> str:
        if not operation:
            return f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:endpoint/{path.split('/')[2].lower()}"
        if WITHOUT_RESOURCE.match(operation):
            return "*"
        for member, form in RESOURCES.items():
            if value := parameters.get(member):
                named = value if value.startswith("arn:") else form
                return named.format(str(value).lower(), region=adapter.REGION, account=adapter.ACCOUNT)
        return "*"

    def handle_rest(
        self, method: str, path: str, headers: dict[str, str], body: bytes, caller: Caller
    ) -> adapter.Response:
        invoked = re.fullmatch(r"/endpoints/([A-Za-z0-9-]+)/invocations", path)
        if method != "POST" or not invoked:
            return super().handle_rest(method, path, headers, body, caller)
        return self.invoke_endpoint(invoked.group(1), headers, body)
