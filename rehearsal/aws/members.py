"""The request members that each emulated operation honours.

Every other member is refused by name, so that none is silently ignored. An operation not listed is not emulated.
"""

from collections.abc import Iterator
from typing import Any

import botocore.model

TIMES = ("CreationTimeAfter", "CreationTimeBefore")
MODIFIED = ("LastModifiedTimeAfter", "LastModifiedTimeBefore")
PAGES = ("MaxResults", "NextToken")
SORTED = ("SortBy", "SortOrder")

# Optional members that an operation acts on, or stores and returns. Required members are always honoured.
HONOURED: dict[str, tuple[str, ...]] = {
    "AddTags": (),
    "CreateDomain": ("SubnetIds", "VpcId", "Tags"),
    "CreateHyperParameterTuningJob": ("TrainingJobDefinition", "Tags"),
    "CreateModelPackage": (
        "ModelPackageGroupName", "ModelPackageDescription", "InferenceSpecification", "Tags", "ModelApprovalStatus",
        "MetadataProperties", "ModelMetrics", "Domain", "Task", "SamplePayloadUrl", "CustomerMetadataProperties",
        "DriftCheckBaselines", "AdditionalInferenceSpecifications", "SkipModelValidation", "SourceUri", "ModelCard",
        "ModelLifeCycle", "ClientToken",
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
    "CreatePullRequest": ("clientRequestToken",),
    "GetBranch": ("repositoryName", "branchName"),
    "GetPullRequest": (),
    "GetRepository": (),
    "ListRepositories": ("nextToken",),
    "ListServiceQuotas": PAGES,
}  # fmt: skip

# Members that are accepted but have no effect here, with the reason.
WITHOUT_EFFECT: dict[tuple[str, str], str] = {
    ("UpdateModelPackage", "ClientToken"): "the SDKs fill it in; the same update twice changes nothing",
    ("CreateTrainingJob", "ProfilerConfig"): "profiling measures instances, and there are none here",
    ("CreateTrainingJob", "DebugHookConfig"): "Debugger is closed to new customers; the SDK only switches it off",
}

ANY: tuple[Any, ...] = ()
# By structure: the members that the emulator honours, each with the values that it emulates, or ANY. Other members, and
# other values where values are listed, are refused.
INSIDE: dict[str, dict[str, tuple[Any, ...]]] = {
    "AlgorithmSpecification": {
        "TrainingImage": ANY, "TrainingInputMode": ("File",), "MetricDefinitions": ANY, "ContainerEntrypoint": ANY,
        "ContainerArguments": ANY,
    },
    "AppSpecification": {"ImageUri": ANY, "ContainerEntrypoint": ANY, "ContainerArguments": ANY},
    "CategoricalParameterRange": {"Name": ANY, "Values": ANY},
    "CfnCreateTemplateProvider": {"TemplateName": ANY, "TemplateURL": ANY, "RoleARN": ANY, "Parameters": ANY},
    "CfnStackCreateParameter": {"Key": ANY, "Value": ANY},
    "CfnStackUpdateParameter": {"Key": ANY, "Value": ANY},
    "CfnUpdateTemplateProvider": {"TemplateName": ANY, "TemplateURL": ANY, "Parameters": ANY},
    "Channel": {
        "ChannelName": ANY, "DataSource": ANY, "ContentType": ANY, "CompressionType": ("None",),
        "RecordWrapperType": ("None",), "InputMode": ("File",),
    },
    "CheckpointConfig": {"S3Uri": ANY, "LocalPath": ANY},
    "ContinuousParameterRange": {
        "Name": ANY, "MinValue": ANY, "MaxValue": ANY, "ScalingType": ("Auto", "Linear", "Logarithmic"),
    },
    "CreateTemplateProvider": {"CfnTemplateProvider": ANY},
    "DataSource": {"S3DataSource": ANY},
    "HyperParameterAlgorithmSpecification": {
        "TrainingImage": ANY, "TrainingInputMode": ("File",), "MetricDefinitions": ANY,
    },
    "HyperParameterTrainingJobDefinition": {
        "StaticHyperParameters": ANY, "AlgorithmSpecification": ANY, "RoleArn": ANY, "InputDataConfig": ANY,
        "VpcConfig": ANY, "OutputDataConfig": ANY, "ResourceConfig": ANY, "StoppingCondition": ANY,
        "EnableNetworkIsolation": ANY, "EnableManagedSpotTraining": ANY, "CheckpointConfig": ANY, "Environment": ANY,
    },
    "HyperParameterTuningJobConfig": {
        "Strategy": ("Bayesian", "Random"), "HyperParameterTuningJobObjective": ANY, "ResourceLimits": ANY,
        "ParameterRanges": ANY, "TrainingJobEarlyStoppingType": ANY, "RandomSeed": ANY,
    },
    "HyperParameterTuningJobObjective": {"Type": ANY, "MetricName": ANY},
    "IntegerParameterRange": {
        "Name": ANY, "MinValue": ANY, "MaxValue": ANY, "ScalingType": ("Auto", "Linear", "Logarithmic"),
    },
    "MetricDefinition": {"Name": ANY, "Regex": ANY},
    "NetworkConfig": {"EnableNetworkIsolation": ANY, "VpcConfig": ANY},
    "OutputDataConfig": {"S3OutputPath": ANY, "KmsKeyId": ANY, "CompressionType": ("GZIP",)},
    "Parameter": {"Name": ANY, "Value": ANY},
    "ParameterRanges": {
        "IntegerParameterRanges": ANY, "ContinuousParameterRanges": ANY, "CategoricalParameterRanges": ANY,
    },
    "PipelineDefinitionS3Location": {"Bucket": ANY, "ObjectKey": ANY, "VersionId": ANY},
    "ProcessingClusterConfig": {
        "InstanceCount": ANY, "InstanceType": ANY, "VolumeSizeInGB": ANY, "VolumeKmsKeyId": ANY,
    },
    "ProcessingInput": {"InputName": ANY, "S3Input": ANY, "AppManaged": (False,)},
    "ProcessingOutput": {"OutputName": ANY, "S3Output": ANY, "AppManaged": (False,)},
    "ProcessingOutputConfig": {"Outputs": ANY, "KmsKeyId": ANY},
    "ProcessingResources": {"ClusterConfig": ANY},
    "ProcessingS3Input": {
        "S3Uri": ANY, "LocalPath": ANY, "S3DataType": ("S3Prefix",), "S3InputMode": ("File",),
        "S3DataDistributionType": ANY, "S3CompressionType": ("None",),
    },
    "ProcessingS3Output": {"S3Uri": ANY, "LocalPath": ANY, "S3UploadMode": ("EndOfJob",)},
    "ProcessingStoppingCondition": {"MaxRuntimeInSeconds": ANY},
    "ProvisioningParameter": {"Key": ANY, "Value": ANY},
    "ResourceConfig": {"InstanceType": ANY, "InstanceCount": ANY, "VolumeSizeInGB": ANY, "VolumeKmsKeyId": ANY},
    "ResourceLimits": {"MaxNumberOfTrainingJobs": ANY, "MaxParallelTrainingJobs": ANY},
    "S3DataSource": {"S3DataType": ("S3Prefix",), "S3Uri": ANY, "S3DataDistributionType": ANY},
    "ServiceCatalogProvisioningDetails": {
        "ProductId": ANY, "ProvisioningArtifactId": ANY, "ProvisioningParameters": ANY,
    },
    "ServiceCatalogProvisioningUpdateDetails": {"ProvisioningArtifactId": ANY, "ProvisioningParameters": ANY},
    "StoppingCondition": {"MaxRuntimeInSeconds": ANY, "MaxWaitTimeInSeconds": ANY},
    "Tag": {"Key": ANY, "Value": ANY},
    "Target": {"repositoryName": ANY, "sourceReference": ANY, "destinationReference": ANY},
    "UpdateTemplateProvider": {"CfnTemplateProvider": ANY},
    "VpcConfig": {"SecurityGroupIds": ANY, "Subnets": ANY},
}  # fmt: skip
# Operations that store their parameters as they are, for Describe to return: their structures are not checked.
KEPT = ("CreateDomain", "CreateModelPackage", "UpdateModelPackage")


def unsupported(operation: str, shape: botocore.model.StructureShape | None, parameters: dict) -> list[str]:
    """Return the members of a request that the operation neither honours nor accepts without effect."""
    honoured = {*(shape.required_members if shape else ()), *HONOURED[operation]}
    outside = [name for name in parameters if name not in honoured and (operation, name) not in WITHOUT_EFFECT]
    if outside or operation in KEPT or shape is None:
        return outside
    inside = [(shape.members[name], value, name) for name, value in parameters.items() if name in honoured]
    return [found for each in inside for found in unsupported_inside(*each)]


def unsupported_inside(shape: botocore.model.Shape, value: Any, path: str) -> Iterator[str]:
    """Yield the paths of a value's members that are not in INSIDE, or whose value is not listed there."""
    if shape.type_name == "list":
        for number, member in enumerate(value or ()):
            yield from unsupported_inside(shape.member, member, f"{path}[{number}]")
    if shape.type_name != "structure":
        return
    for name, member in (value or {}).items():
        honoured = INSIDE[shape.name]
        if name not in honoured:
            yield f"{path}.{name}"
        elif honoured[name] and member not in honoured[name]:
            yield f"{path}.{name} = {member}"
        else:
            yield from unsupported_inside(shape.members[name], member, f"{path}.{name}")
