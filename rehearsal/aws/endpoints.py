"""Emulate models, endpoint configurations and endpoints: CloudFormation creates them, a model server serves them."""

import http.client
import os
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rehearsal import network
from rehearsal.aws import adapter, containers, objects, processes, vpc
from rehearsal.aws.protocol import AwsError, Caller, now, page, public, short_id
from rehearsal.loopback import free_port

START_SECONDS = 120
INVOKE_SECONDS = 60  # SageMaker's limit for a real-time invocation
SERVER = Path(__file__).parent.parent / "model_server.py"


class Endpoints:
    """The API operations on models and endpoints, and their CloudFormation resource types."""

    models: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    endpoints: dict[str, dict[str, Any]]
    folder: Path

    def start_endpoints(self) -> None:
        self.models, self.configs, self.endpoints = {}, {}, {}
        add = adapter.add_resource_type
        add("AWS::SageMaker::Model", self.create_model_resource, self.replace_model, self.delete_model_resource)
        add(
            "AWS::SageMaker::EndpointConfig",
            self.create_config_resource,
            self.replace_config,
            self.delete_config_resource,
        )
        add(
            "AWS::SageMaker::Endpoint",
            self.create_endpoint_resource,
            self.update_endpoint_resource,
            self.delete_endpoint_resource,
        )

    # --- models and configurations -------------------------------------------------------------------------------

    def create_model_resource(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        name = properties.get("ModelName") or adapter.physical_name(stack, logical_id, 63)
        containers_of = properties.get("Containers") or [properties["PrimaryContainer"]]
        if len(containers_of) != 1 or "ModelPackageName" not in containers_of[0]:
            raise ValueError(
                "The emulator does not support models of several containers, or of none from a model package."
            )
        package = self.package(containers_of[0]["ModelPackageName"])
        if package["ModelApprovalStatus"] != "Approved":
            raise ValueError(f"Model package {package['ModelPackageArn']} is not Approved.")
        vpc.join(properties.get("VpcConfig"), properties["ExecutionRoleArn"])
        arn = f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:model/{name.lower()}"
        self.models[name] = {
            "ModelName": name,
            "ModelArn": arn,
            "ExecutionRoleArn": properties["ExecutionRoleArn"],
            "Containers": [{"ModelPackageName": package["ModelPackageArn"]}],
            "EnableNetworkIsolation": properties.get("EnableNetworkIsolation") in (True, "true"),
            **({"VpcConfig": properties["VpcConfig"]} if "VpcConfig" in properties else {}),
            "CreationTime": now(),
            "container": package["InferenceSpecification"]["Containers"][0],
        }
        self.tags[arn] = properties.get("Tags", [])
        return arn, {"ModelName": name}

    def replace_model(self, physical_id: str, old: dict, new: dict, stack: str) -> tuple[str, dict]:
        return self.create_model_resource("Model", new, stack)

    def delete_model_resource(self, physical_id: str, properties: dict[str, Any]) -> None:
        self.models = {name: model for name, model in self.models.items() if model["ModelArn"] != physical_id}
        self.tags.pop(physical_id, None)

    def create_config_resource(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        name = properties.get("EndpointConfigName") or adapter.physical_name(stack, logical_id, 63)
        variants = properties["ProductionVariants"]
        for variant in variants:
            if variant["ModelName"] not in self.models:
                raise ValueError(f"Could not find model {variant['ModelName']!r}.")
        arn = f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:endpoint-config/{name.lower()}"
        self.configs[name] = {
            "EndpointConfigName": name,
            "EndpointConfigArn": arn,
            "ProductionVariants": variants,
            "CreationTime": now(),
        }
        self.tags[arn] = properties.get("Tags", [])
        return arn, {"EndpointConfigName": name}

    def replace_config(self, physical_id: str, old: dict, new: dict, stack: str) -> tuple[str, dict]:
        return self.create_config_resource("EndpointConfig", new, stack)

    def delete_config_resource(self, physical_id: str, properties: dict[str, Any]) -> None:
        self.configs = {
            name: config for name, config in self.configs.items() if config["EndpointConfigArn"] != physical_id
        }
        self.tags.pop(physical_id, None)

    def describe_model(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.known(self.models, parameters["ModelName"], "model"))

    def describe_endpoint_config(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.known(self.configs, parameters["EndpointConfigName"], "endpoint configuration"))

    def describe_endpoint(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return public(self.known(self.endpoints, parameters["EndpointName"], "endpoint"))

    def list_models(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return self.listed(self.models, ("ModelName", "ModelArn", "CreationTime"), parameters, "Models")

    def list_endpoint_configs(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return self.listed(self.configs, keys, parameters, "EndpointConfigs")

    def list_endpoints(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        return self.listed(self.endpoints, keys, parameters, "Endpoints")

    @staticmethod
    def listed(
        records: dict[str, dict], keys: tuple[str, ...], parameters: dict[str, Any], member: str
    ) -> dict[str, Any]:
        return page([{key: record[key] for key in keys} for record in list(records.values())], parameters, member)

    @staticmethod
    def known(records: dict[str, dict[str, Any]], name: str, what: str) -> dict[str, Any]:
        if name not in records:
            raise AwsError("ValidationException", f'Could not find {what} "{name}".')
        return records[name]

    # --- endpoints -----------------------------------------------------------------------------------------------

    def create_endpoint_resource(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        name = properties.get("EndpointName") or adapter.physical_name(stack, logical_id, 63)
        if name in self.endpoints:
            raise ValueError(f'Cannot create already existing endpoint "{name}".')
        server = self.start_server(name, properties["EndpointConfigName"])
        arn = f"arn:aws:sagemaker:{adapter.REGION}:{adapter.ACCOUNT}:endpoint/{name.lower()}"
        self.endpoints[name] = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": properties["EndpointConfigName"],
            "EndpointStatus": "InService",
            "CreationTime": now(),
            "LastModifiedTime": now(),
            "server": server,
        }
        self.tags[arn] = properties.get("Tags", [])
        return arn, {"EndpointName": name}

    def update_endpoint_resource(self, physical_id: str, old: dict, new: dict, stack: str) -> tuple[str, dict]:
        """Update blue/green, as SageMaker does: the new server is healthy before the old one ends."""
        endpoint = next(e for e in self.endpoints.values() if e["EndpointArn"] == physical_id)
        if endpoint["EndpointConfigName"] != new["EndpointConfigName"]:
            server = self.start_server(endpoint["EndpointName"], new["EndpointConfigName"])
            old_server, endpoint["server"] = endpoint["server"], server
            endpoint["EndpointConfigName"], endpoint["LastModifiedTime"] = new["EndpointConfigName"], now()
            old_server.end()
        self.tags[physical_id] = new.get("Tags", [])
        return physical_id, {"EndpointName": endpoint["EndpointName"]}

    def delete_endpoint_resource(self, physical_id: str, properties: dict[str, Any]) -> None:
        for name, endpoint in list(self.endpoints.items()):
            if endpoint["EndpointArn"] == physical_id:
                endpoint["server"].end()
                del self.endpoints[name]
        self.tags.pop(physical_id, None)

    def start_server(self, endpoint: str, config_name: str) -> "ModelServer":
        config = self.known(self.configs, config_name, "endpoint configuration")
        model = self.known(self.models, config["ProductionVariants"][0]["ModelName"], "model")
        return ModelServer(self.folder / "endpoints" / f"{endpoint}-{short_id(6)}", endpoint, model)

    def invoke_endpoint(self, name: str, headers: dict[str, str], body: bytes) -> adapter.Response:
        """Forward a request to the endpoint's model server. An error status becomes a ModelError, as on AWS."""
        endpoint = self.known(self.endpoints, name, "endpoint")
        status, answer, content_type = endpoint["server"].invoke(
            body, headers.get("content-type", "application/octet-stream"), headers.get("accept", "application/json")
        )
        if status >= 400:
            message = (
                f'Received client error ({status}) from primary with message "{answer.decode("utf-8", "replace")}".'
            )
            raise AwsError("ModelError", message, 424)
        return 200, {"Content-Type": content_type, "x-Amzn-Invoked-Production-Variant": "AllTraffic"}, answer


class ModelServer:
    """The model container of an endpoint: model.tar.gz unpacked in /opt/ml/model, its code/inference.py behind HTTP."""

    def __init__(self, folder: Path, endpoint: str, model: dict[str, Any]):
        self.folder = folder
        self.group = f"/aws/sagemaker/Endpoints/{endpoint}"
        self.port = free_port()
        container = model["container"]
        credentials = adapter.credentials_of(model["ExecutionRoleArn"], "SageMaker", "sagemaker.amazonaws.com")
        self.fetch(adapter.client("s3", credentials), container["ModelDataUrl"])
        isolated, socket, relays = model["EnableNetworkIsolation"], f"unix:{short_id(8)}.sock", None
        # In a network namespace, the server's port is out of reach: requests go to it through a Unix socket, from a
        # relay that listens on the same port outside.
        if (isolated or "VpcConfig" in model) and containers.has_networks():
            relays = [f"{socket}=tcp:{self.port}", *([] if isolated else [containers.relay_to_aws()])]
        environment = {
            **processes.job_environment(None if isolated else credentials),
            **container.get("Environment", {}),
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
        }
        python = os.environ["REHEARSAL_PYTHON"]
        self.process = containers.start([python, str(SERVER)], environment, folder, self.emit, relays)
        self.relay: network.Relay | None = None
        try:
            if relays:
                self.relay = network.Relay(f"tcp:{self.port}", socket)
                self.relay.start()
            self.wait_until_healthy()
        except Exception:
            self.end()
            raise

    def fetch(self, s3: Any, url: str) -> None:
        """Download the model's archive and unpack it into /opt/ml/model."""
        model = self.folder / "ml/model"
        bucket, key = objects.split(url)
        download = self.folder / "model.tar.gz"
        download.parent.mkdir(parents=True)
        download.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        with tarfile.open(download) as archive:
            archive.extractall(model, filter="data")
        download.unlink()

    def emit(self, lines: list[str]) -> None:
        adapter.write_log(self.group, "AllTraffic/i-0", lines)

    def wait_until_healthy(self) -> None:
        """Wait until GET /ping succeeds. Raises RuntimeError if the container ends or START_SECONDS pass before."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=2):
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
        raise RuntimeError(f"The container did not pass the ping health check. See log group {self.group}.")

    def invoke(self, body: bytes, content_type: str, accept: str) -> tuple[int, bytes, str]:
        """Return the status, body and content type of the container's response to POST /invocations."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations",
            data=body,
            headers={"Content-Type": content_type, "Accept": accept},
        )
        try:
            with urllib.request.urlopen(request, timeout=INVOKE_SECONDS) as response:
                return response.status, response.read(), response.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            return error.code, error.read(), "text/plain"
        except OSError as error:
            return 500, str(error).encode(), "text/plain"

    def end(self) -> None:
        processes.end([self.process], 2)
        if self.relay:
            self.relay.close()
        containers.remove(self.folder)
