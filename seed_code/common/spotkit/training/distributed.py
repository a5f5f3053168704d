"""Process groups: the processes of a training job, the instances of a processing job.

Training: torchrun starts the processes (see start.py) and gives each its rank. Processing: every instance is one
process, and they find each other by the host names in resourceconfig.json.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_distributed

from spotkit.jobs import job

PORT = 29511
LONGEST = timedelta(days=1)
RENDEZVOUS = timedelta(minutes=10)


@dataclass(frozen=True)
class Group:
    """The process group, seen from the process with number `rank`; `size` is the world size."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is rank 0, which writes and logs for all."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return every process's `value`, in the order of their ranks. All of them have to call this."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch_distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self.size > 1:
            torch_distributed.barrier()

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite the tensors of every process with those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                torch_distributed.broadcast(tensor, 0)

    def leave(self) -> None:
        """Destroy the process group, if there is one."""
        if self.size > 1:
            torch_distributed.destroy_process_group()


def join_instances() -> Group:
    """Join the instances of a processing job into one group."""
    names, current = job.hosts()
    if len(names) == 1:
        return Group()
    rank, size = names.index(current), len(names)
    store = torch_distributed.TCPStore(names[0], PORT, size, is_master=rank == 0, timeout=RENDEZVOUS)
    # The timeout is long because one instance may have much more to read than another.
    torch_distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=LONGEST)
    return Group(rank, size)


def join_processes() -> Group:
    """Join the processes that torchrun started into one group; without torchrun, a group of one."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        return Group()
    local_rank = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    # NCCL for tensors on GPUs, gloo for Python objects.
    backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
    torch_distributed.init_process_group(backend, timeout=LONGEST)
    return Group(int(os.environ["RANK"]), size, local_rank)


def shared_folder(group: Group, own: Path) -> Path:
    """Return a folder that the processes of this machine share: the one of its local rank 0."""
    folders = group.gather(str(own))
    return Path(folders[group.rank - group.local_rank])
