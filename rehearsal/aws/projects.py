"""SageMaker projects, by both routes: a Service Catalog product, or a template in S3."""

import time
from typing import Any

import botocore.exceptions

from rehearsal.aws import adapter
from rehearsal.aws.protocol import AwsError, Caller, newest_first, now, page, public, short_id
from rehearsal.aws.servicecatalog import bucket_and_key

POLL_SECONDS = 0.1
STACK_SECONDS = 900


class Projects:
    """The operations on projects."""

    projects: dict[str, dict[str, Any]]
    tags: dict[str, list[dict[str, str]]]

    def start_projects(self, catalog: Any) -> None:
        self.projects = {}
        self.catalog = catalog

    def create_project(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        name = parameters["ProjectName"]
        if name in self.projects:
            raise AwsError(
                "ValidationException", f"Project names must be unique within an AWS account and region: {name} exists."
            )
        catalog, providers = parameters.get("ServiceCatalogProvisioningDetails"), parameters.get("TemplateProviders")
        if bool(catalog) == bool(providers):
            raise AwsError("ValidationException", "Give either ServiceCatalogProvisioningDetails or TemplateProviders.")
        project_id = f"p-{short_id(12)}"
        arn = f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:project/{name.lower()}"
        project = {
            "ProjectArn": arn,
            "ProjectName": name,
            "ProjectId": project_id,
            "ProjectDescription": parameters.get("ProjectDescription", ""),
            "ProjectStatus": "CreateInProgress",
            "CreationTime": now(),
            "LastModifiedTime": now(),
        }
        launch = self.from_catalog(project, catalog, caller) if catalog else self.from_s3(project, providers, caller)
        launch["parameters"] |= {"SageMakerProjectName": name, "SageMakerProjectId": project_id}
        self.projects[name] = project
        self.tags[arn] = parameters.get("Tags", [])
        adapter.in_background(self.provision, project, launch)
        return {"ProjectArn": arn, "ProjectId": project_id}

    def from_catalog(self, project: dict[str, Any], details: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """What to launch, by Service Catalog: the artifact's template with the product's launch role."""
        artifact, role = self.catalog.launch(details, caller)
        provisioned = f"pp-{short_id(13)}"
        given = {entry["Key"]: entry["Value"] for entry in details.get("ProvisioningParameters", [])}
        project["ServiceCatalogProvisioningDetails"] = {**details, "ProvisioningArtifactId": artifact["Id"]}
        project["ServiceCatalogProvisionedProductDetails"] = {"ProvisionedProductId": provisioned}
        self.catalog.provisioned[provisioned] = {
            "Id": provisioned,
            "Name": f"{project['ProjectName']}-{project['ProjectId']}",
            "ProductId": details["ProductId"],
            "ProvisioningArtifactId": artifact["Id"],
            "Status": "UNDER_CHANGE",
            "CreatedTime": now(),
        }
        return {
            "stack": f"SC-{adapter.ACCOUNT}-{provisioned}",
            "url": artifact["url"],
            "role": role,
            "service": "servicecatalog.amazonaws.com",
            "parameters": given,
        }

    def from_s3(self, project: dict[str, Any], providers: list[dict[str, Any]], caller: Caller) -> dict[str, Any]:
        """What to launch, from S3: the template's address with the role that the caller passes."""
        provider = providers[0]["CfnTemplateProvider"]
        if "RoleARN" not in provider:
            raise AwsError("UnsupportedOperation", "The rehearsal does not play templates from S3 without a RoleARN.")
        caller.pass_role(provider["RoleARN"], "cloudformation.amazonaws.com")
        given = {entry["Key"]: entry["Value"] for entry in provider.get("Parameters", [])}
        project["TemplateProviderDetails"] = [{"CfnTemplateProviderDetail": provider}]
        return {
            "stack": f"SP-{project['ProjectId']}",
            "url": provider["TemplateURL"],
            "role": provider["RoleARN"],
            "service": "cloudformation.amazonaws.com",
            "parameters": given,
        }

    def provision(self, project: dict[str, Any], launch: dict[str, Any]) -> None:
        """Create the stack with the launch role and follow it to its end."""
        project["stack"], project["launch"] = launch["stack"], launch
        try:
            credentials = adapter.credentials_of(launch["role"], "servicecatalog", launch["service"])
            bucket, key = bucket_and_key(launch["url"])
            adapter.client("s3", credentials).head_object(Bucket=bucket, Key=key)
            cloudformation = adapter.client("cloudformation", credentials)
            cloudformation.create_stack(
                StackName=launch["stack"],
                TemplateURL=f"{adapter.endpoint()}/{bucket}/{key}",
                Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in launch["parameters"].items()],
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Tags=[
                    {"Key": "sagemaker:project-name", "Value": project["ProjectName"]},
                    {"Key": "sagemaker:project-id", "Value": project["ProjectId"]},
                ],
            )
            stack = self.follow(cloudformation, launch["stack"])
            self.settle(
                project, stack["StackStatus"] == "CREATE_COMPLETE", "Create", stack.get("StackStatusReason", "")
            )
        except Exception as error:
            self.settle(project, False, "Create", str(error))

    def update_project(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        project = self.project(parameters["ProjectName"])
        if project["ProjectStatus"].endswith("InProgress"):
            raise AwsError("ConflictException", f"Project {project['ProjectName']} is {project['ProjectStatus']}.")
        catalog = parameters.get("ServiceCatalogProvisioningUpdateDetails")
        providers = parameters.get("TemplateProvidersToUpdate")
        if bool(catalog) == bool(providers):
            raise AwsError(
                "ValidationException",
                "Give either ServiceCatalogProvisioningUpdateDetails or TemplateProvidersToUpdate.",
            )
        launch = dict(project["launch"])
        if catalog:
            details = {**project["ServiceCatalogProvisioningDetails"], **catalog}
            artifact, launch["role"] = self.catalog.launch(details, caller)
            launch["url"] = artifact["url"]
            given = catalog.get("ProvisioningParameters", [])
            change = {"ServiceCatalogProvisioningDetails": {**details, "ProvisioningArtifactId": artifact["Id"]}}
        else:
            provider = providers[0]["CfnTemplateProvider"]
            (there,) = (entry["CfnTemplateProviderDetail"] for entry in project["TemplateProviderDetails"])
            caller.pass_role(launch["role"], "cloudformation.amazonaws.com")
            launch["url"] = provider["TemplateURL"]
            given = provider.get("Parameters", [])
            change = {"TemplateProviderDetails": [{"CfnTemplateProviderDetail": {**there, **provider}}]}
        launch["parameters"] = launch["parameters"] | {entry["Key"]: entry["Value"] for entry in given}
        project["ProjectStatus"] = "UpdateInProgress"
        adapter.in_background(self.change, project, launch, change)
        return {"ProjectArn": project["ProjectArn"]}

    def change(self, project: dict[str, Any], launch: dict[str, Any], change: dict[str, Any]) -> None:
        """Update the stack with the launch role; what it had stays when that fails."""
        try:
            credentials = adapter.credentials_of(launch["role"], "servicecatalog", launch["service"])
            cloudformation = adapter.client("cloudformation", credentials)
            bucket, key = bucket_and_key(launch["url"])
            try:
                cloudformation.update_stack(
                    StackName=launch["stack"],
                    TemplateURL=f"{adapter.endpoint()}/{bucket}/{key}",
                    Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in launch["parameters"].items()],
                    Capabilities=["CAPABILITY_NAMED_IAM"],
                )
            except botocore.exceptions.ClientError as error:
                if "No updates are to be performed" not in str(error):
                    raise
            stack = self.follow(cloudformation, launch["stack"])
            succeeded = stack["StackStatus"] in ("UPDATE_COMPLETE", "CREATE_COMPLETE")
            if succeeded:
                project["launch"] = launch
                project |= change
            self.settle(project, succeeded, "Update", stack.get("StackStatusReason", ""))
        except Exception as error:
            self.settle(project, False, "Update", str(error))

    def follow(self, cloudformation: Any, name: str) -> dict[str, Any]:
        """Wait until a stack's operation has ended."""
        deadline = time.monotonic() + STACK_SECONDS
        while time.monotonic() < deadline:
            stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
            if not stack["StackStatus"].endswith("IN_PROGRESS"):
                return stack
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"stack {name} did not end in {STACK_SECONDS} s")

    def settle(self, project: dict[str, Any], succeeded: bool, operation: str, reason: str) -> None:
        project["ProjectStatus"] = f"{operation}{'Completed' if succeeded else 'Failed'}"
        project["LastModifiedTime"] = now()
        provisioned = project.get("ServiceCatalogProvisionedProductDetails")
        if not succeeded and provisioned:
            provisioned["ProvisionedProductStatusMessage"] = reason[:1000]
        if not succeeded:
            project["reason"] = reason
        if provisioned:
            record = self.catalog.provisioned[provisioned["ProvisionedProductId"]]
            record["Status"] = "AVAILABLE" if succeeded else "ERROR"
            record["StatusMessage"] = reason[:1000]

    def describe_project(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.project(parameters["ProjectName"]))

    def list_projects(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = ("ProjectName", "ProjectDescription", "ProjectArn", "ProjectId", "CreationTime", "ProjectStatus")
        found = newest_first(list(self.projects.values()), parameters, "CreationTime")
        listed = [{k: p[k] for k in keys} for p in found if parameters.get("NameContains", "") in p["ProjectName"]]
        return page(listed, parameters, "ProjectSummaryList")

    def delete_project(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        project = self.project(parameters["ProjectName"])
        if project["ProjectStatus"] in ("CreateInProgress", "DeleteInProgress"):
            raise AwsError("ConflictException", f"Project {project['ProjectName']} is {project['ProjectStatus']}.")
        project["ProjectStatus"] = "DeleteInProgress"
        adapter.in_background(self.remove, project)
        return {}

    def remove(self, project: dict[str, Any]) -> None:
        """Delete the stack with the launch role; the project goes when its stack is gone."""
        launch = project["launch"]
        try:
            credentials = adapter.credentials_of(launch["role"], "servicecatalog", launch["service"])
            cloudformation = adapter.client("cloudformation", credentials)
            stack_id = cloudformation.describe_stacks(StackName=launch["stack"])["Stacks"][0]["StackId"]
            cloudformation.delete_stack(StackName=launch["stack"])
            stack = self.follow(adapter.client("cloudformation", adapter.root_credentials()), stack_id)
            if stack["StackStatus"] != "DELETE_COMPLETE":
                raise RuntimeError(stack.get("StackStatusReason", stack["StackStatus"]))
        except Exception as error:
            self.settle(project, False, "Delete", str(error))
            return
        project["ProjectStatus"] = "DeleteCompleted"
        self.tags.pop(project["ProjectArn"], None)
        del self.projects[project["ProjectName"]]
        if provisioned := project.get("ServiceCatalogProvisionedProductDetails"):
            del self.catalog.provisioned[provisioned["ProvisionedProductId"]]

    def project(self, name: str) -> dict[str, Any]:
        if name not in self.projects:
            raise AwsError("ValidationException", f"Project {name} does not exist.")
        return self.projects[name]
