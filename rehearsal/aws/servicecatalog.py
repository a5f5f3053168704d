"""Service Catalog: portfolios, products and their versions, who may launch them, and with which role."""

from typing import Any
from urllib.parse import urlsplit

from rehearsal.aws import adapter
from rehearsal.aws.protocol import AwsError, Caller, Service, now, page, public, short_id, tags_of


class ServiceCatalog(Service):
    """The resource types in `templates/portfolio.yaml`, and the operations that Studio and its users call."""

    name = "servicecatalog"
    target_prefix = "AWS242ServiceCatalogService"

    def __init__(self) -> None:
        super().__init__()
        self.portfolios: dict[str, dict[str, Any]] = {}
        self.products: dict[str, dict[str, Any]] = {}
        self.provisioned: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[str, Any]] = {}
        types = {
            "Portfolio": (self.create_portfolio_resource, self.delete_portfolio_resource),
            "CloudFormationProduct": (self.create_product_resource, self.delete_product_resource),
            "PortfolioProductAssociation": (self.associate_product, self.disassociate_product),
            "PortfolioPrincipalAssociation": (self.associate_principal, self.disassociate_principal),
            "LaunchRoleConstraint": (self.constrain_launch, self.release_launch),
        }
        for kind, (create, delete) in types.items():
            update = self.update_product_resource if kind == "CloudFormationProduct" else replacing(create, delete)
            adapter.add_resource_type(f"AWS::ServiceCatalog::{kind}", create, update, delete)

    # --- resources of the portfolio template --------------------------------------------------------------------

    def create_portfolio_resource(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        portfolio_id = f"port-{short_id(13)}"
        self.portfolios[portfolio_id] = {
            "Id": portfolio_id,
            "ARN": f"arn:aws:catalog:{adapter.REGION}:{adapter.ACCOUNT}:portfolio/{portfolio_id}",
            "DisplayName": properties["DisplayName"],
            "Description": properties.get("Description", ""),
            "ProviderName": properties["ProviderName"],
            "CreatedTime": now(),
            "products": set(),
            "principals": set(),
            "launch_roles": {},
        }
        return portfolio_id, {"PortfolioName": properties["DisplayName"]}

    def delete_portfolio_resource(self, physical_id: str, properties: dict[str, Any]) -> None:
        portfolio = self.portfolios.get(physical_id)
        if portfolio and (portfolio["products"] or portfolio["principals"] or portfolio["launch_roles"]):
            raise ValueError(f"Portfolio {physical_id} still has products, principals or constraints")
        self.portfolios.pop(physical_id, None)

    def create_product_resource(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        product_id = f"prod-{short_id(13)}"
        artifacts = [artifact_of(given) for given in properties["ProvisioningArtifactParameters"]]
        self.products[product_id] = {
            "Id": f"prodview-{product_id[5:]}",
            "ProductId": product_id,
            "Name": properties["Name"],
            "Owner": properties["Owner"],
            "ShortDescription": properties.get("Description", ""),
            "Type": "CLOUD_FORMATION_TEMPLATE",
            "HasDefaultPath": False,
            "tags": tags_of(properties.get("Tags")),
            "artifacts": artifacts,
        }
        return product_id, attributes_of(properties, artifacts)

    def update_product_resource(
        self, physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str
    ) -> tuple[str, dict]:
        """Update a product's details, add new artifacts, and remove those that are no longer listed.

        An artifact with the same name and template keeps its id; with another template it is a new artifact
        (docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-servicecatalog-cloudformationproduct.html).
        """
        product = self.products[physical_id]
        there = {(artifact["Name"], artifact["url"]): artifact for artifact in product["artifacts"]}
        made = [artifact_of(given) for given in new["ProvisioningArtifactParameters"]]
        artifacts = [there.get((artifact["Name"], artifact["url"]), artifact) for artifact in made]
        product |= {"Name": new["Name"], "Owner": new["Owner"], "ShortDescription": new.get("Description", "")}
        product |= {"tags": tags_of(new.get("Tags")), "artifacts": artifacts}
        return physical_id, attributes_of(new, artifacts)

    def delete_product_resource(self, physical_id: str, properties: dict[str, Any]) -> None:
        self.products.pop(physical_id, None)

    def associate_product(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        self.portfolio(properties["PortfolioId"])["products"].add(properties["ProductId"])
        return f"{properties['PortfolioId']}|{properties['ProductId']}", {}

    def disassociate_product(self, physical_id: str, properties: dict[str, Any]) -> None:
        if portfolio := self.portfolios.get(properties["PortfolioId"]):
            portfolio["products"].discard(properties["ProductId"])

    def associate_principal(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        if properties["PrincipalType"] not in ("IAM", "IAM_PATTERN"):
            raise ValueError(f"PrincipalType {properties['PrincipalType']!r} is not IAM or IAM_PATTERN")
        self.portfolio(properties["PortfolioId"])["principals"].add(properties["PrincipalARN"])
        return f"{properties['PortfolioId']}|{properties['PrincipalARN']}", {}

    def disassociate_principal(self, physical_id: str, properties: dict[str, Any]) -> None:
        if portfolio := self.portfolios.get(properties["PortfolioId"]):
            portfolio["principals"].discard(properties["PrincipalARN"])

    def constrain_launch(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        portfolio = self.portfolio(properties["PortfolioId"])
        if properties["ProductId"] not in portfolio["products"]:
            raise ValueError(f"Product {properties['ProductId']} is not in portfolio {portfolio['Id']}")
        portfolio["launch_roles"][properties["ProductId"]] = properties["RoleArn"]
        return f"cons-{short_id(13)}", {}

    def release_launch(self, physical_id: str, properties: dict[str, Any]) -> None:
        if portfolio := self.portfolios.get(properties["PortfolioId"]):
            portfolio["launch_roles"].pop(properties["ProductId"], None)

    def portfolio(self, portfolio_id: str) -> dict[str, Any]:
        if portfolio_id not in self.portfolios:
            raise AwsError("ResourceNotFoundException", f"Portfolio {portfolio_id} not found")
        return self.portfolios[portfolio_id]

    # --- operations that users call -------------------------------------------------------------------------------

    def search_products(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        role = adapter.role_of(caller.access_key)
        visible = {
            product
            for portfolio in self.portfolios.values()
            for product in portfolio["products"]
            if role is None or role in portfolio["principals"]
        }
        summaries = [summary_of(product) for key, product in sorted(self.products.items()) if key in visible]
        wanted = [text.lower() for texts in (parameters.get("Filters") or {}).values() for text in texts]
        found = [s for s in summaries if all(word in f"{s['Name']} {s['ShortDescription']}".lower() for word in wanted)]
        return page(found, parameters, "ProductViewSummaries")

    def describe_product(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        product = self.product(parameters)
        return {
            "ProductViewSummary": summary_of(product),
            "ProvisioningArtifacts": [public(a) for a in product["artifacts"]],
        }

    def list_provisioning_artifacts(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return {
            "ProvisioningArtifactDetails": [
                public(a) for a in self.product({"Id": parameters["ProductId"]})["artifacts"]
            ]
        }

    def list_launch_paths(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        paths = [
            {"Id": f"lpv3-{portfolio['Id'][5:]}", "Name": portfolio["DisplayName"]}
            for portfolio in self.portfolios.values()
            if parameters["ProductId"] in portfolio["products"]
        ]
        return page(paths, parameters, "LaunchPathSummaries")

    def list_portfolios(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = ("Id", "ARN", "DisplayName", "Description", "CreatedTime", "ProviderName")
        return page([{key: p[key] for key in keys} for p in self.portfolios.values()], parameters, "PortfolioDetails")

    def describe_provisioned_product(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if parameters.get("Id") not in self.provisioned:
            raise AwsError("ResourceNotFoundException", f"Provisioned product {parameters.get('Id')} not found")
        return {"ProvisionedProductDetail": public(self.provisioned[parameters["Id"]])}

    def describe_record(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if parameters["Id"] not in self.records:
            raise AwsError("ResourceNotFoundException", f"Record {parameters['Id']} not found")
        record = self.records[parameters["Id"]]
        return {"RecordDetail": public(record), **page(record["outputs"], parameters, "RecordOutputs")}

    def product(self, parameters: dict[str, Any]) -> dict[str, Any]:
        for product in self.products.values():
            if (
                parameters.get("Id") in (product["ProductId"], product["Id"])
                or parameters.get("Name") == product["Name"]
            ):
                return product
        raise AwsError(
            "ResourceNotFoundException", f"Product {parameters.get('Id') or parameters.get('Name')} not found"
        )

    # --- provisioning, on behalf of SageMaker projects -------------------------------------------------------------

    def launch(self, details: dict[str, Any], caller: Caller) -> tuple[dict[str, Any], str]:
        """Return the artifact (the last one if none is named) and the launch role of a product.

        Raise AccessDeniedException if the caller may not launch it, and ValidationException if it has no launch role.
        """
        product = self.product({"Id": details["ProductId"]})
        role = adapter.role_of(caller.access_key)
        for portfolio in self.portfolios.values():
            if product["ProductId"] in portfolio["products"] and (role is None or role in portfolio["principals"]):
                break
        else:
            raise AwsError(
                "AccessDeniedException", f"Product {product['ProductId']} is in no portfolio granted to {role}"
            )
        launch_role = portfolio["launch_roles"].get(product["ProductId"])
        if launch_role is None:
            raise AwsError("ValidationException", f"Product {product['ProductId']} has no launch constraint")
        wanted = details.get("ProvisioningArtifactId")
        for artifact in reversed(product["artifacts"]):
            if wanted in (None, artifact["Id"]):
                return artifact, launch_role
        raise AwsError("ResourceNotFoundException", f"Provisioning artifact {wanted} not found")

    def keep_record(
        self, provisioned_id: str, artifact: str, succeeded: bool, reason: str, stack_id: str | None
    ) -> None:
        """Record how an operation on a provisioned product ended, with the ARN of its stack among the outputs.

        docs.aws.amazon.com/servicecatalog/latest/dg/API_DescribeRecord.html
        """
        provisioned, record_id = self.provisioned[provisioned_id], f"rec-{short_id(13)}"
        self.records[record_id] = {
            "RecordId": record_id,
            "ProvisionedProductId": provisioned_id,
            "ProvisionedProductName": provisioned["Name"],
            "ProvisionedProductType": "CFN_STACK",
            "ProductId": provisioned["ProductId"],
            "ProvisioningArtifactId": artifact,
            "Status": "SUCCEEDED" if succeeded else "FAILED",
            "CreatedTime": now(),
            "UpdatedTime": now(),
            "RecordErrors": [] if succeeded else [{"Code": "CFN_STACK", "Description": reason[:1000]}],
            "outputs": [{"OutputKey": "CloudformationStackARN", "OutputValue": stack_id}] if stack_id else [],
        }
        provisioned |= {"LastRecordId": record_id, "LastProvisioningRecordId": record_id}
        provisioned |= {"Status": "AVAILABLE" if succeeded else "ERROR", "StatusMessage": reason[:1000]}
        provisioned["ProvisioningArtifactId"] = artifact
        if succeeded:
            provisioned["LastSuccessfulProvisioningRecordId"] = record_id


def artifact_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return a provisioning artifact from its declaration in a template. Raise ValueError unless its URL is in S3."""
    url = given["Info"].get("LoadTemplateFromURL")
    if not url:
        raise ValueError("ProvisioningArtifactParameters.Info needs LoadTemplateFromURL")
    bucket_and_key(url)
    return {
        "Id": f"pa-{short_id(13)}",
        "Name": given.get("Name", "v1"),
        "Description": given.get("Description", ""),
        "Type": "CLOUD_FORMATION_TEMPLATE",
        "CreatedTime": now(),
        "Active": True,
        "Guidance": "DEFAULT",
        "url": url,
    }


def attributes_of(properties: dict[str, Any], artifacts: list[dict[str, Any]]) -> dict[str, str]:
    return {
        "ProductName": properties["Name"],
        "ProvisioningArtifactIds": ",".join(artifact["Id"] for artifact in artifacts),
        "ProvisioningArtifactNames": ",".join(artifact["Name"] for artifact in artifacts),
    }


def replacing(create: Any, delete: Any) -> Any:
    """Return an update handler that deletes and creates the resource, for types that have no in-place update here."""

    def update(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> tuple[str, dict]:
        delete(physical_id, old)
        return create(physical_id, new, stack)

    return update


def bucket_and_key(url: str) -> tuple[str, str]:
    """Return the bucket and key of an https URL of S3. Raise ValueError for any other URL."""
    parts = urlsplit(url)
    host, path = parts.netloc, parts.path.lstrip("/")
    if parts.scheme == "https" and ".s3." in host and path:
        return host.split(".s3.")[0], path
    if parts.scheme == "https" and host.startswith("s3.") and "/" in path:
        bucket, _, key = path.partition("/")
        return bucket, key
    raise ValueError(f"{url} is not the https address of an object in S3")


def summary_of(product: dict[str, Any]) -> dict[str, Any]:
    """Return a product as lists show it, without the emulator's own members."""
    return {key: value for key, value in product.items() if key[0].isupper()}
