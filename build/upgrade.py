"""Update running projects to the newest template, and keep the values of their parameters.

A parameter that UpdateProject does not get falls back to the template's default: CfnStackUpdateParameter has no
UsePreviousValue (docs.aws.amazon.com/sagemaker/latest/APIReference/API_CfnStackUpdateParameter.html), and whether
SageMaker uses Service Catalog's for a product is not documented. So, for projects of either kind, every value is read
from the project's stack and sent again.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import botocore.exceptions

from build import VARIANTS
from build.account import Account, listed
from build.limits import misfits
from build.package import Package, Release
from build.plan import Action, Request
from build.stacks import MAX_WAIT_SECONDS, STACK, describe_stack, outputs_of, parameters_of, read_template

FILLED_IN = ("SageMakerProjectName", "SageMakerProjectId")  # by SageMaker itself
NO_UPDATES = "No updates are to be performed"


@dataclass(frozen=True)
class Update:
    """The update of a project: the release, and all values of its parameters.

    `dropped` are names of parameters that the newest template no longer has.
    """

    project: Mapping[str, Any]
    release: Release
    variant: str
    parameters: Mapping[str, str]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        lost = f" (the template no longer has: {', '.join(self.dropped)})" if self.dropped else ""
        return f"update project {self.project['ProjectName']}{lost}"


def our_projects(account: Account, bucket: str) -> list[dict[str, Any]]:
    """Return the projects that were created from this bundle, through Service Catalog or from templates in S3."""
    products = products_of(account).values()
    projects = []
    for summary in listed(account.sagemaker, "list_projects", "ProjectSummaryList"):
        project = account.sagemaker.describe_project(ProjectName=summary["ProjectName"])
        details = project.get("ServiceCatalogProvisioningDetails", {})
        addresses = [provider["TemplateURL"] for provider in providers_of(project)]
        if details.get("ProductId") in products or any(is_in(address, bucket) for address in addresses):
            projects.append(project)
    return projects


def products_of(account: Account) -> dict[str, str]:
    """Return the ids of the bundle's products by variant; none if it is not installed."""
    outputs = outputs_of(describe_stack(account, STACK))
    names = {variant.name: f"{variant.logical_id}ProductId" for variant in VARIANTS.values()}
    return {variant: outputs[name] for variant, name in names.items() if name in outputs}


def providers_of(project: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [entry["CfnTemplateProviderDetail"] for entry in project.get("TemplateProviderDetails", [])]


def is_in(address: str, bucket: str) -> bool:
    """Return whether an https URL of S3, virtual-hosted or path-style, is of an object in a bucket."""
    return f"//{bucket}.s3" in address or f"/{bucket}/" in address


def variant_of(account: Account, project: Mapping[str, Any]) -> str:
    if details := project.get("ServiceCatalogProvisioningDetails"):
        return next(variant for variant, product in products_of(account).items() if product == details["ProductId"])
    (provider,) = providers_of(project)
    return next(variant for variant in VARIANTS if f"/project-{variant}-" in provider["TemplateURL"])


def project_parameters(account: Account, project: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a project's stack, without those that SageMaker fills in.

    Raise ValueError if the project has no stack.
    """
    for name in stack_names(account, project):
        if stack := describe_stack(account, name):
            return {key: value for key, value in parameters_of(stack).items() if key not in FILLED_IN}
    raise ValueError(
        f"project {project['ProjectName']} is {project['ProjectStatus']} and has no stack that its parameters could be "
        f"read from. Leave it out of PROJECTS, or delete it."
    )


def stack_names(account: Account, project: Mapping[str, Any]) -> list[str]:
    """Return the names or ARNs that a project's stack may have.

    For a template in S3, they are in DescribeProject's StackDetail
    (docs.aws.amazon.com/sagemaker/latest/APIReference/API_CfnTemplateProviderDetail.html). For Service Catalog, the
    name is SC-<account>-<provisioned product>; if there is no such stack, the ARN is in the outputs of the product's
    record.
    """
    if providers := providers_of(project):
        detail = providers[0].get("StackDetail", {})
        return [name for name in (detail.get("Id"), detail.get("Name")) if name]
    product = project.get("ServiceCatalogProvisionedProductDetails", {}).get("ProvisionedProductId")
    if not product:
        return []
    number = project["ProjectArn"].split(":")[4]
    name = f"SC-{number}-{product}"
    return [name] if describe_stack(account, name) else stacks_in_record(account, product)


def stacks_in_record(account: Account, product: str) -> list[str]:
    """Return, in a list, the ARN of a provisioned product's stack from the record of its last successful change.

    docs.aws.amazon.com/servicecatalog/latest/dg/API_DescribeRecord.html
    """
    detail = account.servicecatalog.describe_provisioned_product(Id=product)["ProvisionedProductDetail"]
    if not (record := detail.get("LastSuccessfulProvisioningRecordId")):
        return []
    outputs = account.servicecatalog.describe_record(Id=record).get("RecordOutputs", [])
    return [output["OutputValue"] for output in outputs if output["OutputKey"] == "CloudformationStackARN"]


def project_actions(account: Account, request: Request, built: Package) -> list[Action]:
    """Return the actions that update running projects. Their repositories belong to the teams and are not changed.

    Raise ValueError for a project that is not the bundle's, and for parameters that are unknown, have no value, or have
    a value that the template does not allow.
    """
    if not request.projects and request.parameters:
        raise ValueError(f"PARAMETERS sets {', '.join(request.parameters)} of no project. Name some: PROJECTS=all.")
    if not request.projects:
        return []
    ours = {project["ProjectName"]: project for project in our_projects(account, built.bucket)}
    names = list(ours) if request.projects == ("all",) else list(request.projects)
    if unknown := [name for name in names if name not in ours]:
        raise ValueError(
            f"no project of this bundle is called {', '.join(unknown)}. There is: {', '.join(ours) or 'none'}."
        )
    updates = [planned_update(account, ours[name], built, request.parameters) for name in names]
    return [Action(str(update), lambda update=update: update_project(account, update)) for update in updates if update]


def planned_update(
    account: Account, project: Mapping[str, Any], built: Package, changed: Mapping[str, str]
) -> Update | None:
    """Return the update of a project with `changed` parameters, or None if it is up to date."""
    variant, release = variant_of(account, project), newest(built)
    declared = read_template(built.objects[built.projects[variant]])["Parameters"]
    there = project_parameters(account, project)
    if unknown := [name for name in changed if name not in declared or name in FILLED_IN]:
        names = ", ".join(name for name in declared if name not in FILLED_IN)
        raise ValueError(f"PARAMETERS names {', '.join(unknown)}, no parameter of the project template: {names}.")
    values = {name: value for name, value in {**there, **changed}.items() if name in declared}
    missing = [name for name in declared if name not in FILLED_IN and name not in values]
    if required := [name for name in missing if "Default" not in declared[name]]:
        example = " ".join(f"{name}=value" for name in required)
        raise ValueError(
            f"project {project['ProjectName']} has no value for {', '.join(required)}, which the newest template asks "
            f'for. Set PARAMETERS="{example}"'
        )
    if refused := misfits(declared, values):
        raise ValueError(
            f"project {project['ProjectName']} has what the newest template refuses: {'; '.join(refused)}. "
            f'Set PARAMETERS="{refused[0].split()[0]}=value"'
        )
    if has(account, project, release) and values == there:
        return None
    return Update(project, release, variant, values, tuple(name for name in there if name not in declared))


def newest(built: Package) -> Release:
    """Return the release of this package's own project templates."""
    return next(release for release in built.releases if release.projects == built.projects)


def has(account: Account, project: Mapping[str, Any], release: Release) -> bool:
    """Return whether a project was created from a release, or updated to it."""
    if details := project.get("ServiceCatalogProvisioningDetails"):
        artifact = artifact_of(account, details["ProductId"], release)
        return artifact is not None and details.get("ProvisioningArtifactId") == artifact
    (provider,) = providers_of(project)
    return provider["TemplateURL"].endswith(tuple(release.projects.values()))


def artifact_of(account: Account, product: str, release: Release) -> str | None:
    """Return the id of a release's provisioning artifact in a product, or None if it has none."""
    listed = account.servicecatalog.list_provisioning_artifacts(ProductId=product)["ProvisioningArtifactDetails"]
    return next((artifact["Id"] for artifact in listed if artifact["Name"] == release.name), None)


def update_project(account: Account, update: Update) -> None:
    """Update one project and wait for it. Raise ValueError if the update fails."""
    name = update.project["ProjectName"]
    values = [{"Key": key, "Value": value} for key, value in update.parameters.items()]
    if details := update.project.get("ServiceCatalogProvisioningDetails"):
        artifact = artifact_of(account, details["ProductId"], update.release)
        product = {"ProvisioningArtifactId": artifact, "ProvisioningParameters": values}
        change: dict[str, Any] = {"ServiceCatalogProvisioningUpdateDetails": product}
    else:
        (provider,) = providers_of(update.project)
        address = f"{provider['TemplateURL'].split('/templates/')[0]}/{update.release.projects[update.variant]}"
        template = {"TemplateName": provider["TemplateName"], "TemplateURL": address, "Parameters": values}
        change = {"TemplateProvidersToUpdate": [{"CfnTemplateProvider": template}]}
    account.sagemaker.update_project(ProjectName=name, **change)
    settle_project(account, name, "UpdateCompleted")


def settle_project(account: Account, name: str, wanted: str) -> None:
    """Wait until a project has the status `wanted`, or no longer exists if that is "gone".

    An update that fails because there is nothing to update is accepted. Raise ValueError if the operation fails, and
    TimeoutError after half an hour.
    """
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while True:
        try:
            project = account.sagemaker.describe_project(ProjectName=name)
        except botocore.exceptions.ClientError as error:
            if wanted == "gone" and "does not exist" in error.response["Error"]["Message"]:
                return
            raise
        status, reason = project["ProjectStatus"], reason_of(project)
        if status == wanted or (wanted == "gone" and status == "DeleteCompleted"):
            return
        if status == "UpdateFailed" and NO_UPDATES in reason:
            return
        if status.endswith("Failed"):
            raise ValueError(
                f"project {name} is {status}: {reason or 'see the events of its stack'}. "
                f"Fix that and run the same command again."
            )
        if time.monotonic() > deadline:
            raise TimeoutError(f"project {name} is still {status}. Run the same command again later.")
        time.sleep(account.wait_seconds)


def reason_of(project: Mapping[str, Any]) -> str:
    """Return DescribeProject's message about a project's last operation, or ""."""
    product = project.get("ServiceCatalogProvisionedProductDetails", {})
    details = [provider.get("StackDetail", {}) for provider in providers_of(project)]
    return product.get("ProvisionedProductStatusMessage", "") or next((d.get("StatusMessage", "") for d in details), "")


def delete_project(account: Account, name: str) -> None:
    account.sagemaker.delete_project(ProjectName=name)
    settle_project(account, name, "gone")


def read_assignments(text: str) -> dict[str, str]:
    """Parse "Name=value Name=value". Raise ValueError for a word without "="."""
    for word in text.split():
        if "=" not in word:
            raise ValueError(f"PARAMETERS has {word!r}, no Name=value. Write it as in PARAMETERS='MonthlyBudget=50'.")
    return dict(word.split("=", 1) for word in text.split())
