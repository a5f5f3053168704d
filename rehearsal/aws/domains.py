"""SageMaker: Studio domains, the switch that shows project templates in them, and tags of resources by ARN."""

from typing import Any

from rehearsal.aws import adapter
from rehearsal.aws.protocol import AwsError, Caller, now, page, short_id


class Domains:
    """The operations on domains and tags that an installation calls."""

    domains: dict[str, dict[str, Any]]
    tags: dict[str, list[dict[str, str]]]

    def start_domains(self) -> None:
        self.domains = {}
        self.templates_shown = False

    def create_domain(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        number = f"d-{short_id(12)}"
        arn = f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:domain/{number}"
        self.domains[number] = {
            **{key: value for key, value in parameters.items() if key != "Tags"},
            "DomainId": number,
            "DomainArn": arn,
            "Status": "InService",
            "CreationTime": now(),
            "LastModifiedTime": now(),
        }
        self.tags[arn] = parameters.get("Tags", [])
        return {"DomainId": number, "DomainArn": arn}

    def describe_domain(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if parameters["DomainId"] not in self.domains:
            raise AwsError("ResourceNotFound", f"Domain {parameters['DomainId']} does not exist.")
        return self.domains[parameters["DomainId"]]

    def list_domains(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = ("DomainArn", "DomainId", "DomainName", "Status", "CreationTime", "LastModifiedTime")
        return page([{key: d[key] for key in keys} for d in self.domains.values()], parameters, "Domains")

    def delete_domain(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        domain = self.describe_domain(parameters, caller)
        self.tags.pop(domain["DomainArn"], None)
        del self.domains[domain["DomainId"]]
        return {}

    def enable_sagemaker_servicecatalog_portfolio(self, parameters: dict[str, Any], caller: Caller) -> None:
        self.templates_shown = True

    def disable_sagemaker_servicecatalog_portfolio(self, parameters: dict[str, Any], caller: Caller) -> None:
        self.templates_shown = False

    def get_sagemaker_servicecatalog_portfolio_status(
        self, parameters: dict[str, Any], caller: Caller
    ) -> dict[str, Any]:
        return {"Status": "Enabled" if self.templates_shown else "Disabled"}

    def add_tags(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Add tags to a resource; a tag whose key exists gets the new value."""
        given = {tag["Key"]: tag for tag in parameters["Tags"]}
        there = {tag["Key"]: tag for tag in self.tags.get(parameters["ResourceArn"], [])}
        self.tags[parameters["ResourceArn"]] = list((there | given).values())
        return {"Tags": self.tags[parameters["ResourceArn"]]}

    def delete_tags(self, parameters: dict[str, Any], caller: Caller) -> None:
        there = self.tags.get(parameters["ResourceArn"], [])
        self.tags[parameters["ResourceArn"]] = [tag for tag in there if tag["Key"] not in parameters["TagKeys"]]
