"""Install what requirements.txt lists and the image lacks, then replace this process with the named script.

This is the entrypoint of jobs (`python3 start.py train.py`), except for those of a tuning. It uses exec, so that the
script itself gets SageMaker's signals: SIGTERM announces a spot interruption. On several GPUs or instances it becomes
torchrun, which starts train.py once for each GPU and forwards the signal.
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
TRACKING_SECONDS = 180  # timeout for installing the tracking packages


def name_of(requirement: str) -> str:
    """Return the package in a line of a requirements file, in lower case and with hyphens."""
    return re.split(r"[=<>~!\[; ]", requirement)[0].lower().replace("_", "-")


def missing(requirements: Path) -> list[str]:
    """Return the lines of a requirements file whose package is not installed in any version."""
    lines = [line.split("#")[0].strip() for line in requirements.read_text().splitlines()]
    installed = {dist.metadata["Name"].lower().replace("_", "-") for dist in importlib.metadata.distributions()}
    return [line for line in lines if line and name_of(line) not in installed]


def command(script: str, arguments: list[str]) -> list[str]:
    """Return the command for a script: for train.py on several GPUs or hosts torchrun, otherwise Python."""
    hosts, current = job.hosts()
    gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if script != "train.py" or (len(hosts) == 1 and gpus < 2):
        return [sys.executable, str(CODE / script), *arguments]
    launch = ["-m", "torch.distributed.run", f"--nnodes={len(hosts)}", f"--node-rank={hosts.index(current)}"]
    launch += [f"--nproc-per-node={max(1, gpus)}", f"--master-addr={hosts[0]}", f"--master-port={PORT}"]
    launch += [f"--local-addr={current}"]  # torchrun would take the hostname, which is "aws" everywhere: see meeting.py
    return [sys.executable, *launch, str(CODE / script), *arguments]


def tracking() -> list[str]:
    """Return the lines of requirements-tracking.txt that the job's variables call for and the image lacks."""
    mlflow, wandb = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("WANDB_SECRET", "")
    asked = {
        "mlflow-skinny": mlflow,
        "sagemaker-mlflow": mlflow.startswith("arn:"),  # it complains about any other address
        "wandb": wandb,
        "boto3": wandb,
    }
    if not any(asked.values()):
        return []
    return [line for line in missing(CODE / "requirements-tracking.txt") if asked.get(name_of(line), True)]


def install(lines: list[str], **options: Any) -> None:
    """Install lines of a requirements file with pip."""
    if lines:
        print(f"installing {', '.join(lines)}", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", *lines]
        subprocess.run(command, check=True, **options)


if __name__ == "__main__":
    install(missing(CODE / "requirements.txt"))
    try:
        install(tracking(), timeout=TRACKING_SECONDS)
    except subprocess.SubprocessError as error:  # training goes on without tracking
        print(f"warning: what tracks training was not installed: {error}", flush=True)
    meeting.join()
    become = command(sys.argv[1], sys.argv[2:])
    os.execv(become[0], become)
