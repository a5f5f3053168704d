"""The instances of a job, each with its own folder, /opt/ml and configuration."""

import json
from pathlib import Path
from typing import Any

from rehearsal.aws import containers
from rehearsal.aws.protocol import not_emulated

# Maximum instances of a job: each runs on this machine, and takes the memory of a training process.
MAX_INSTANCES = 8


class Instance:
    """One instance of a job, seen from outside its container."""

    def __init__(self, job: Path, number: int, count: int):
        self.hosts = [f"algo-{each}" for each in range(1, count + 1)]
        self.name = self.hosts[number]
        self.share = slice(number, None, count)  # its part of objects that are divided between instances
        self.folder = job / self.name
        self.ml = self.folder / "ml"

    def make(self) -> None:
        """Create an empty /opt/ml."""
        (self.ml / "output").mkdir(parents=True)

    def path(self, path: str) -> Path:
        """Return where a path of the container is on this machine. Raise ValueError for a path outside /opt/ml."""
        return containers.local_path(self.folder, path)

    def part_of(self, source: dict[str, Any]) -> slice:
        """Return the slice of an S3 input's objects that this instance gets: every n-th with ShardedByS3Key, else all.

        docs.aws.amazon.com/sagemaker/latest/APIReference/API_S3DataSource.html
        """
        return self.share if source.get("S3DataDistributionType") == "ShardedByS3Key" else slice(None)

    def resource_config(self, instance_type: str) -> dict[str, Any]:
        """Return the content of resourceconfig.json, which describes a job's hosts.

        docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
        """
        group = {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": self.hosts}
        return {
            "current_host": self.name,
            "current_instance_type": instance_type,
            "current_group_name": "homogeneousCluster",
            "hosts": self.hosts,
            "instance_groups": [group],
            "network_interface_name": containers.INTERFACE if len(self.hosts) > 1 else "lo",
        }

    def write_config(self, name: str, content: dict[str, Any]) -> None:
        path = self.ml / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def failure(self) -> str:
        """Return the failure reason that the container wrote, or an empty string."""
        left = [self.ml / "output" / name for name in ("failure", "message")]
        return next((path.read_text().strip() for path in left if path.exists()), "")


def resources_of(job: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a job's request that describes its instances."""
    return job.get("ResourceConfig") or job.get("ProcessingResources", {}).get("ClusterConfig", {})


def require_playable(job: dict[str, Any]) -> None:
    """Raise UnsupportedOperation for a job whose instances cannot be emulated here, instead of running it on one."""
    resources = resources_of(job)
    if resources.get("InstanceGroups"):
        raise not_emulated("groups of instances: name one InstanceType and its InstanceCount")
    count = resources.get("InstanceCount", 1)
    if not 1 <= count <= MAX_INSTANCES:
        raise not_emulated(f"a job on {count} instances: set its InstanceCount to 1 to {MAX_INSTANCES}")
    if count > 1 and not containers.has_clusters():
        raise not_emulated(
            f"a job on {count} instances, since the kernel permits no networks here: set its InstanceCount to 1"
        )
