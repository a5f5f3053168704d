"""Emulate SageMaker projects, by both routes: a Service Catalog product, or a template in S3."""

import time
from typing import Any

import botocore.exceptions

from rehearsal.aws import adapter
from rehearsal.aws.protocol import AwsError, Caller, not_emulated, now, page, public, short_id
from rehearsal.aws.servicecatalog import bucket_and_key

# On the S3 route, the launch role may be passed to SageMaker, which passes it on, or directly to CloudFormation.
SERVICES_OF_S3_ROUTE = ("cloudformation.amazonaws.com", "sagemaker.amazonaws.com")
FILLED_IN = {"SageMakerProjectName", "SageMakerProjectId"}
POLL_SECONDS = 0.1
STACK_SECONDS = 900


class Projects:
    """The API operations on projects."""

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
        """Return what to launch for a product: the artifact's template and the product's launch role."""
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
        """Return what to launch for a template in S3: the template's URL and the role that the caller passes."""
        provider = providers[0]["CfnTemplateProvider"]
        if "RoleARN" not in provider:
            raise not_emulated("templates from S3 without a RoleARN")
        stack = f"SP-{project['ProjectId']}"
        self.require_s3_route(caller, provider["RoleARN"], stack, "CreateStack", "TagResource")
        given = {entry["Key"]: entry["Value"] for entry in provider.get("Parameters", [])}
        detail = {"Name": stack, "StatusMessage": "CREATE_IN_PROGRESS"}
        project["TemplateProviderDetails"] = [{"CfnTemplateProviderDetail": {**provider, "StackDetail": detail}}]
        return {
            "stack": stack,
            "url": provider["TemplateURL"],
            "role": provider["RoleARN"],
            "service": "cloudformation.amazonaws.com",
            "parameters": given,
        }

    def require_s3_route(self, caller: Caller, launch_role: str | None, stack: str, *actions: str) -> None:
        """Raise AccessDenied unless the caller has the permissions that SageMaker uses on the project's stack.

        AWS's sample policies for templates in S3 name them (github.com/aws-samples/sagemaker-custom-project-templates,
        s3_templates/mlops-github-actions/iam): SageMaker creates the stack with the caller's permissions, tags it with
        the project's name and id, and passes the launch role. To which service is not documented: both are required.
        """
        for service in SERVICES_OF_S3_ROUTE if launch_role else ():
            caller.pass_role(launch_role, service)
        for action in actions:
            arn = f"arn:aws:cloudformation:{adapter.REGION}:{adapter.ACCOUNT}:stack/{stack}/*"
            caller.may(f"cloudformation:{action}", arn)

    def provision(self, project: dict[str, Any], launch: dict[str, Any]) -> None:
        """Create the stack with the launch role, wait for its end, and record the outcome in the project."""
        project["stack"], project["launch"] = launch["stack"], launch
        try:
            credentials = adapter.credentials_of(launch["role"], "servicecatalog", launch["service"])
            bucket, key = bucket_and_key(launch["url"])
            adapter.client("s3", credentials).head_object(Bucket=bucket, Key=key)
            cloudformation = adapter.client("cloudformation", credentials)
            self.require_declared(cloudformation, launch)
            created = cloudformation.create_stack(
                StackName=launch["stack"],
                TemplateURL=f"{adapter.endpoint()}/{bucket}/{key}",
                Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in launch["parameters"].items()],
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Tags=[
                    {"Key": "sagemaker:project-name", "Value": project["ProjectName"]},
                    {"Key": "sagemaker:project-id", "Value": project["ProjectId"]},
                ],
            )
            project["stack_id"] = created["StackId"]
            stack = self.follow(cloudformation, launch["stack"])
            self.settle(
                project, stack["StackStatus"] == "CREATE_COMPLETE", "Create", stack.get("StackStatusReason", "")
            )
        except Exception as error:
            self.settle(project, False, "Create", str(error))

    def require_declared(self, cloudformation: Any, launch: dict[str, Any]) -> None:
        """Raise ValueError, with CloudFormation's message, for parameters that the template does not declare."""
        bucket, key = bucket_and_key(launch["url"])
        summary = cloudformation.get_template_summary(TemplateURL=f"{adapter.endpoint()}/{bucket}/{key}")
        declared = {parameter["ParameterKey"] for parameter in summary["Parameters"]}
        if unknown := sorted(launch["parameters"].keys() - declared):
            raise ValueError(f"Parameters: [{', '.join(unknown)}] do not exist in the template")

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
            now_has = {"ProvisioningArtifactId": artifact["Id"], "ProvisioningParameters": given}
            change = {"ServiceCatalogProvisioningDetails": {**details, **now_has}}
        else:
            provider = providers[0]["CfnTemplateProvider"]
            (there,) = (entry["CfnTemplateProviderDetail"] for entry in project["TemplateProviderDetails"])
            self.require_s3_route(
                caller, launch["role"], launch["stack"], "UpdateStack", "TagResource", "UntagResource"
            )
            launch["url"] = provider["TemplateURL"]
            given = provider.get("Parameters", [])
            now_has = {**there, **provider, "Parameters": given}
            change = {"TemplateProviderDetails": [{"CfnTemplateProviderDetail": now_has}]}
        # A parameter that is not given gets the template's default again: neither shape has a UsePreviousValue
        # (docs.aws.amazon.com/sagemaker/latest/APIReference/API_CfnStackUpdateParameter.html).
        filled_in = {name: value for name, value in launch["parameters"].items() if name in FILLED_IN}
        launch["parameters"] = {entry["Key"]: entry["Value"] for entry in given} | filled_in
        project["ProjectStatus"] = "UpdateInProgress"
        adapter.in_background(self.change, project, launch, change)
        return {"ProjectArn": project["ProjectArn"]}

    def change(self, project: dict[str, Any], launch: dict[str, Any], change: dict[str, Any]) -> None:
        """Update the stack with the launch role. If that fails, the project's details stay as they were."""
        try:
            credentials = adapter.credentials_of(launch["role"], "servicecatalog", launch["service"])
            cloudformation = adapter.client("cloudformation", credentials)
            bucket, key = bucket_and_key(launch["url"])
            self.require_declared(cloudformation, launch)
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
        """Wait until a stack's operation has ended, and return the stack. Raises TimeoutError after STACK_SECONDS."""
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
            artifact = project["ServiceCatalogProvisioningDetails"]["ProvisioningArtifactId"]
            self.catalog.keep_record(
                provisioned["ProvisionedProductId"], artifact, succeeded, reason, project.get("stack_id")
            )
        for provider in project.get("TemplateProviderDetails", []):
            detail = provider["CfnTemplateProviderDetail"]["StackDetail"]
            detail["StatusMessage"] = reason[:4096] or project["ProjectStatus"]
            if "stack_id" in project:
                detail["Id"] = project["stack_id"]

    def describe_project(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.project(parameters["ProjectName"]))

    def list_projects(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = ("ProjectName", "ProjectDescription", "ProjectArn", "ProjectId", "CreationTime", "ProjectStatus")
        listed = [{key: project[key] for key in keys} for project in list(self.projects.values())]
        return page(listed, parameters, "ProjectSummaryList")

    def delete_project(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        project = self.project(parameters["ProjectName"])
        if project["ProjectStatus"] in ("CreateInProgress", "DeleteInProgress"):
            raise AwsError("ConflictException", f"Project {project['ProjectName']} is {project['ProjectStatus']}.")
        if project.get("TemplateProviderDetails"):
            self.require_s3_route(caller, None, project["launch"]["stack"], "DeleteStack")
        project["ProjectStatus"] = "DeleteInProgress"
        adapter.in_background(self.remove, project)
        return {}

    def remove(self, project: dict[str, Any]) -> None:
        """Delete the stack with the launch role, and then the project."""
        launch = project["launch"]
        try:
            credentials = adapter.credentials_of(launch["role"], "servicecatalog", launch["service"])
            cloudformation = adapter.client("cloudformation", credentials)
            stack_id = cloudformation.describe_stacks(StackName=launch["stack"])["Stacks"][0]["StackId"]
            cloudformation.delete_stack(StackName=launch["stack"])
            # By id, since a deleted stack is not found by its name.
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
