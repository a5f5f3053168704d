"""Install what requirements.txt lists and the image lacks, then become the script that is named.

The first process of every job (`python3 start.py train.py`). It replaces itself, so that the script gets SageMaker's
signals itself: a spot interruption announces itself by SIGTERM. On several GPUs or instances it becomes torchrun, which
starts train.py once for each GPU and hands the signal on.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import job
import meeting

CODE = Path(__file__).parent
PORT = 7777
TRACKING_SECONDS = 180  # that installing what tracks training may take


def name_of(requirement: str) -> str:
    """The package that a line of a requirements file names, as distributions write it."""
    return re.split(r"[=<>~!\[; ]", requirement)[0].lower().replace("_", "-")


def missing(requirements: Path) -> list[str]:
    """The lines of a requirements file whose package is not installed in any version."""
    lines = [line.split("#")[0].strip() for line in requirements.read_text().splitlines()]
    installed = {dist.metadata["Name"].lower().replace("_", "-") for dist in importlib.metadata.distributions()}
    return [line for line in lines if line and name_of(line) not in installed]


def command(script: str, arguments: list[str]) -> list[str]:
    """How a script is run here: train.py once for each GPU of every host, anything else once."""
    hosts, current = job.hosts()
    gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if script != "train.py" or (len(hosts) == 1 and gpus < 2):
        return [sys.executable, str(CODE / script), *arguments]
    launch = ["-m", "torch.distributed.run", f"--nnodes={len(hosts)}", f"--node-rank={hosts.index(current)}"]
    launch += [f"--nproc-per-node={max(1, gpus)}", f"--master-addr={hosts[0]}", f"--master-port={PORT}"]
    launch += [f"--local-addr={current}"]  # the host's own name is no address: see meeting.py
    return [sys.executable, *launch, str(CODE / script), *arguments]


def tracking() -> list[str]:
    """The lines of requirements-tracking.txt that the job's variables ask for and the image lacks."""
    mlflow, wandb = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("WANDB_SECRET", "")
    asked = {
        "mlflow-skinny": mlflow,
        "sagemaker-mlflow": mlflow.startswith("arn:"),  # it complains about every other address
        "wandb": wandb,
        "boto3": wandb,
    }
    if not any(asked.values()):
        return []
    return [line for line in missing(CODE / "requirements-tracking.txt") if asked.get(name_of(line), True)]


def install(lines: list[str], **options: Any) -> None:
    """Let pip install some lines of a requirements file."""
    if lines:
        print(f"installing {', '.join(lines)}", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", *lines]
        subprocess.run(command, check=True, **options)


if __name__ == "__main__":
    install(missing(CODE / "requirements.txt"))
    try:
        install(tracking(), timeout=TRACKING_SECONDS)
    except subprocess.SubprocessError as error:  # training goes on without
        print(f"warning: what tracks training was not installed: {error}", flush=True)
    meeting.join()
    become = command(sys.argv[1], sys.argv[2:])
    os.execv(become[0], become)
