"""The container contract: where a SageMaker job finds its inputs and how it says why it failed.

Training: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
Processing: https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html
"""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

OPT_ML = Path(os.environ.get("OPT_ML", "/opt/ml"))
CODE = Path(__file__).parent
# Of a training job, and of a processing job.
RESOURCE_CONFIGS = (OPT_ML / "input/config/resourceconfig.json", OPT_ML / "config/resourceconfig.json")


def hyperparameters() -> dict[str, str]:
    """The job's hyperparameters; SageMaker hands every value over as a string. Empty outside a training job."""
    path = OPT_ML / "input/config/hyperparameters.json"
    return json.loads(path.read_text()) if path.exists() else {}


def hosts() -> tuple[list[str], str]:
    """All hosts of the job, sorted, and this one. SM_HOSTS and SM_CURRENT_HOST go before SageMaker's own file."""
    if "SM_HOSTS" in os.environ:
        return sorted(json.loads(os.environ["SM_HOSTS"])), os.environ["SM_CURRENT_HOST"]
    for path in RESOURCE_CONFIGS:
        if path.exists():
            config = json.loads(path.read_text())
            return sorted(config["hosts"]), config["current_host"]
    return ["localhost"], "localhost"


def network_interface() -> str:
    """Return the interface by which this host reaches the job's others: SageMaker's file names it, usually eth0.

    https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
    """
    for path in RESOURCE_CONFIGS:
        if path.exists() and (name := json.loads(path.read_text()).get("network_interface_name")):
            return name
    return "eth0"


def checkpoints() -> Path:
    """Where a training job's checkpoints lie; for the jobs of a tuning, which share an address in S3, in one folder each.

    Whether SageMaker appends the name of the job to that address, AWS does not say
    (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_HyperParameterTrainingJobDefinition.html): with these
    folders a job finds its own checkpoints, and no others, either way. The hyperparameter is the service's own mark.
    """
    folder = OPT_ML / "checkpoints"
    return folder / os.environ["TRAINING_JOB_NAME"] if "_tuning_objective_metric" in hyperparameters() else folder


def report_failure(message: str) -> None:
    """Leave the reason where SageMaker looks for it: `failure` for training, `message` for processing jobs."""
    output = OPT_ML / "output"
    if OPT_ML.exists():
        output.mkdir(exist_ok=True)
        for name in ("failure", "message"):
            # Not over what is there: where one process of several fails, the others fail at its absence.
            # Whatever the message holds: a file's name may be no UTF-8, and the job's locale may be C.
            with contextlib.suppress(FileExistsError), (output / name).open("xb") as file:
                file.write(message[:1024].encode(errors="replace"))


def run(main: Callable[[], None]) -> None:
    """Run `main`; what a user can mend ends in one line, anything else in its traceback, and both in the job's page."""
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        report_failure(str(error))
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except Exception:
        report_failure(traceback.format_exc(limit=-3))
        raise
