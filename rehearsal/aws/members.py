"""Which members of a request each emulated operation honours.

Every other member is refused by name, so that none is ever ignored. An operation that is not listed is not emulated.
"""

import botocore.model

TIMES = ("CreationTimeAfter", "CreationTimeBefore")
MODIFIED = ("LastModifiedTimeAfter", "LastModifiedTimeBefore")
PAGES = ("MaxResults", "NextToken")
SORTED = ("SortBy", "SortOrder")

# Optional members that an operation acts on, or keeps and returns. Required members are always honoured.
HONOURED: dict[str, tuple[str, ...]] = {
    "AddTags": (),
    "CreateDomain": ("SubnetIds", "VpcId", "Tags"),
    "CreateHyperParameterTuningJob": (
        "TrainingJobDefinition", "TrainingJobDefinitions", "WarmStartConfig", "Tags", "Autotune",
    ),
    "CreateModelPackage": (
        "ModelPackageGroupName", "ModelPackageDescription", "InferenceSpecification", "Tags", "ModelApprovalStatus",
        "MetadataProperties", "ModelMetrics", "Domain", "Task", "SamplePayloadUrl", "CustomerMetadataProperties",
        "DriftCheckBaselines", "AdditionalInferenceSpecifications", "SkipModelValidation", "SourceUri", "ModelCard",
        "ModelLifeCycle",
    ),
    "CreatePipeline": (
        "PipelineDisplayName", "PipelineDefinition", "PipelineDefinitionS3Location", "PipelineDescription", "Tags",
    ),
    "CreateProcessingJob": (
        "ProcessingInputs", "ProcessingOutputConfig", "StoppingCondition", "Environment", "NetworkConfig", "Tags",
    ),
    "CreateProject": ("ProjectDescription", "ServiceCatalogProvisioningDetails", "Tags", "TemplateProviders"),
    "CreateTrainingJob": (
        "HyperParameters", "AlgorithmSpecification", "InputDataConfig", "ResourceConfig", "VpcConfig",
        "StoppingCondition", "Tags", "EnableNetworkIsolation", "EnableManagedSpotTraining", "CheckpointConfig",
        "Environment",
    ),
    "DeleteDomain": (),
    "DeleteModelPackage": (),
    "DeleteModelPackageGroup": (),
    "DeletePipeline": (),
    "DeleteProject": (),
    "DeleteTags": (),
    "DescribeDomain": (),
    "DescribeEndpoint": (),
    "DescribeEndpointConfig": (),
    "DescribeHyperParameterTuningJob": (),
    "DescribeModel": (),
    "DescribeModelPackage": (),
    "DescribeModelPackageGroup": (),
    "DescribePipeline": (),
    "DescribePipelineDefinitionForExecution": (),
    "DescribePipelineExecution": (),
    "DescribeProcessingJob": (),
    "DescribeProject": (),
    "DescribeTrainingJob": (),
    "DisableSagemakerServicecatalogPortfolio": (),
    "EnableSagemakerServicecatalogPortfolio": (),
    "GetSagemakerServicecatalogPortfolioStatus": (),
    "ListDomains": PAGES,
    "ListEndpointConfigs": (*PAGES, *SORTED, *TIMES, "NameContains"),
    "ListEndpoints": (*PAGES, *SORTED, *TIMES, *MODIFIED, "NameContains", "StatusEquals"),
    "ListHyperParameterTuningJobs": (*PAGES, *SORTED, *TIMES, *MODIFIED, "NameContains", "StatusEquals"),
    "ListModelPackageGroups": (*PAGES, *SORTED, *TIMES, "NameContains"),
    "ListModelPackages": (
        *PAGES, *SORTED, *TIMES, "ModelApprovalStatus", "ModelPackageGroupName", "ModelPackageType",
    ),
    "ListModels": (*PAGES, *SORTED, *TIMES, "NameContains"),
    "ListPipelineExecutionSteps": (*PAGES, "PipelineExecutionArn", "SortOrder"),
    "ListPipelineExecutions": (*PAGES, *SORTED, "CreatedAfter", "CreatedBefore"),
    "ListPipelineParametersForExecution": PAGES,
    "ListPipelines": (*PAGES, *SORTED, "PipelineNamePrefix", "CreatedAfter", "CreatedBefore"),
    "ListProcessingJobs": (*PAGES, *SORTED, *TIMES, *MODIFIED, "NameContains", "StatusEquals"),
    "ListProjects": (*PAGES, *SORTED, *TIMES, "NameContains"),
    "ListTags": PAGES,
    "ListTrainingJobs": (*PAGES, *SORTED, *TIMES, *MODIFIED, "NameContains", "StatusEquals"),
    "ListTrainingJobsForHyperParameterTuningJob": (*PAGES, *SORTED, "StatusEquals"),
    "StartPipelineExecution": (
        "PipelineExecutionDisplayName", "PipelineParameters", "PipelineExecutionDescription", "PipelineVersionId",
    ),
    "StopHyperParameterTuningJob": (),
    "StopPipelineExecution": (),
    "StopProcessingJob": (),
    "StopTrainingJob": (),
    "UpdateModelPackage": (
        "ModelApprovalStatus", "ApprovalDescription", "CustomerMetadataProperties", "InferenceSpecification",
        "SourceUri", "ModelCard", "ModelLifeCycle",
    ),
    "UpdatePipeline": (
        "PipelineDisplayName", "PipelineDefinition", "PipelineDefinitionS3Location", "PipelineDescription", "RoleArn",
    ),
    "UpdateProject": ("ServiceCatalogProvisioningUpdateDetails", "TemplateProvidersToUpdate"),
    "DescribeProduct": ("Id", "Name"),
    "DescribeProvisionedProduct": ("Id",),
    "DescribeRecord": (),
    "ListLaunchPaths": ("PageSize", "PageToken"),
    "ListPortfolios": ("PageSize", "PageToken"),
    "ListProvisioningArtifacts": (),
    "SearchProducts": ("Filters", "PageSize", "PageToken"),
    "CreatePullRequest": (),
    "GetBranch": ("repositoryName", "branchName"),
    "GetPullRequest": (),
    "GetRepository": (),
    "ListRepositories": ("nextToken",),
    "ListServiceQuotas": PAGES,
}  # fmt: skip

# Members that are accepted and change nothing here, with the reason.
WITHOUT_EFFECT: dict[tuple[str, str], str] = {
    ("CreateModelPackage", "ClientToken"): "the SDKs fill it in; versions are not deduplicated here",
    ("UpdateModelPackage", "ClientToken"): "the SDKs fill it in; the same update twice changes nothing",
    ("CreateTrainingJob", "ProfilerConfig"): "profiling measures instances, and there are none here",
    ("CreateTrainingJob", "DebugHookConfig"): "Debugger is closed to new customers; the SDK only switches it off",
}


def unsupported(operation: str, shape: botocore.model.StructureShape | None, parameters: dict) -> list[str]:
    """Return the members of a request that the operation neither honours nor knowingly passes over."""
    honoured = {*(shape.required_members if shape else ()), *HONOURED[operation]}
    return [name for name in parameters if name not in honoured and (operation, name) not in WITHOUT_EFFECT]
