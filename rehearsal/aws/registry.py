"""SageMaker's model registry: model package groups, model packages, their approval and events."""

from typing import Any

from rehearsal.aws import adapter
from rehearsal.aws.objects import split
from rehearsal.aws.protocol import AwsError, Caller, not_emulated, now, page, public, tags_of


class Registry:
    """The operations on model package groups and model packages."""

    groups: dict[str, dict[str, Any]]
    packages: dict[str, dict[str, Any]]
    tags: dict[str, list[dict[str, str]]]

    def start_registry(self) -> None:
        self.groups, self.packages = {}, {}
        adapter.add_resource_type(
            "AWS::SageMaker::ModelPackageGroup",
            self.create_group_resource,
            self.update_group_resource,
            self.delete_group_resource,
        )

    # --- groups ------------------------------------------------------------------------------------------------

    def create_group_resource(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        name = properties["ModelPackageGroupName"]
        if name in self.groups:
            raise ValueError(f"Model Package Group already exists: {name}")
        arn = f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:model-package-group/{name}"
        self.groups[name] = {
            "ModelPackageGroupName": name,
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupDescription": properties.get("ModelPackageGroupDescription", ""),
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": now(),
            "CreatedBy": {},
            "versions": 0,
        }
        self.tags[arn] = properties.get("Tags", [])
        return arn, {"ModelPackageGroupArn": arn, "ModelPackageGroupStatus": "Completed"}

    def update_group_resource(self, physical_id: str, old: dict, new: dict, stack: str) -> tuple[str, dict]:
        self.tags[physical_id] = new.get("Tags", [])
        return physical_id, {"ModelPackageGroupArn": physical_id, "ModelPackageGroupStatus": "Completed"}

    def delete_group_resource(self, physical_id: str, properties: dict[str, Any]) -> None:
        if properties["ModelPackageGroupName"] in self.groups:
            self.delete_model_package_group(properties, None)

    def delete_model_package_group(self, parameters: dict[str, Any], caller: Caller | None) -> None:
        group = self.group(parameters["ModelPackageGroupName"])
        name, physical_id = group["ModelPackageGroupName"], group["ModelPackageGroupArn"]
        if any(package["ModelPackageGroupName"] == name for package in self.packages.values()):
            what = f"Model Package Group {name} cannot be deleted because it contains model packages"
            raise AwsError("ConflictException", what) if caller else ValueError(what)
        self.groups.pop(name, None)
        self.tags.pop(physical_id, None)

    def describe_model_package_group(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.group(parameters["ModelPackageGroupName"]))

    def list_model_package_groups(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = ("ModelPackageGroupName", "ModelPackageGroupArn", "ModelPackageGroupStatus", "CreationTime")
        found = [{key: group[key] for key in keys} for group in list(self.groups.values())]
        return page(found, parameters, "ModelPackageGroupSummaryList")

    def group(self, name: str) -> dict[str, Any]:
        name = name.rsplit("/", 1)[-1]
        if name not in self.groups:
            raise AwsError("ValidationException", f"ModelPackageGroup {name} does not exist.")
        return self.groups[name]

    # --- packages ----------------------------------------------------------------------------------------------

    def create_model_package(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if "ModelPackageGroupName" not in parameters:
            raise not_emulated("model packages without a group")
        group = self.group(parameters["ModelPackageGroupName"])
        for container in parameters.get("InferenceSpecification", {}).get("Containers", []):
            self.require_object(container.get("ModelDataUrl"), caller)
        group["versions"] += 1
        name, version = group["ModelPackageGroupName"], group["versions"]
        arn = f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:model-package/{name.lower()}/{version}"
        package = {
            **parameters,
            "ModelPackageGroupName": name,
            "ModelPackageName": name,
            "ModelPackageVersion": version,
            "ModelPackageArn": arn,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "ModelApprovalStatus": parameters.get("ModelApprovalStatus", "PendingManualApproval"),
            "CreationTime": now(),
        }
        package.pop("Tags", None)
        self.tags[arn] = parameters.get("Tags", [])
        self.packages[arn] = package
        self.raise_change(package, "ModelPackageStatus")
        return {"ModelPackageArn": arn}

    def require_object(self, url: str | None, caller: Caller) -> None:
        """Raise ValidationException unless a package's model data exists."""
        if not url:
            return
        bucket, key = split(url)
        s3 = adapter.client("s3", adapter.root_credentials())
        try:
            found = s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"]
        except s3.exceptions.NoSuchBucket:
            found = 0
        if not found:
            raise AwsError("ValidationException", f"Could not find model data at {url}.")

    def describe_model_package(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.package(parameters["ModelPackageName"]))

    def list_model_packages(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        group = (
            self.group(parameters["ModelPackageGroupName"])["ModelPackageGroupName"]
            if parameters.get("ModelPackageGroupName")
            else None
        )
        keys = (
            "ModelPackageName",
            "ModelPackageGroupName",
            "ModelPackageVersion",
            "ModelPackageArn",
            "ModelPackageDescription",
            "CreationTime",
            "ModelPackageStatus",
            "ModelApprovalStatus",
        )
        wanted = parameters.get("ModelApprovalStatus")
        found = [
            {key: package[key] for key in keys if key in package}
            for package in list(self.packages.values())
            if group in (None, package["ModelPackageGroupName"]) and wanted in (None, package["ModelApprovalStatus"])
        ]
        # Only versioned packages are emulated. Without a group, the default is Unversioned (API reference,
        # ListModelPackages).
        kind = parameters.get("ModelPackageType", "Versioned" if group else "Unversioned")
        found = [] if kind == "Unversioned" else found
        return page(found, parameters, "ModelPackageSummaryList")

    def update_model_package(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        package = self.package(parameters["ModelPackageArn"])
        package |= {
            key: value
            for key, value in parameters.items()
            if key not in ("ModelPackageArn", "CustomerMetadataProperties")
        }
        package.setdefault("CustomerMetadataProperties", {}).update(parameters.get("CustomerMetadataProperties", {}))
        package["LastModifiedTime"] = now()
        if "ModelApprovalStatus" in parameters:
            self.raise_change(package, "ModelApprovalStatus")
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def delete_model_package(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        package = self.package(parameters["ModelPackageName"])
        self.tags.pop(package["ModelPackageArn"], None)
        del self.packages[package["ModelPackageArn"]]
        return {}

    def package(self, arn: str) -> dict[str, Any]:
        if arn not in self.packages:
            raise AwsError("ValidationException", f"ModelPackage {arn} does not exist.")
        return self.packages[arn]

    def raise_change(self, package: dict[str, Any], what: str) -> None:
        """Raise the event of a changed model package.

        docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
        """
        keys = (
            "ModelPackageGroupName",
            "ModelPackageName",
            "ModelPackageArn",
            "ModelPackageVersion",
            "ModelPackageStatus",
            "ModelApprovalStatus",
            "CustomerMetadataProperties",
            "ModelLifeCycle",
        )
        detail = {key: package[key] for key in keys if key in package}
        detail |= {"CreationTime": int(package["CreationTime"].timestamp() * 1000), "UpdatedModelPackageFields": [what]}
        detail["Tags"] = tags_of(self.tags.get(package["ModelPackageArn"]))
        arn = package["ModelPackageArn"]
        adapter.raise_event("aws.sagemaker", "SageMaker Model Package State Change", detail, [arn])
