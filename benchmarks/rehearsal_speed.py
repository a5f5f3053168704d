"""Measure how long a warm rehearsal of one variant takes on its sample: the figures in the README and the notes.

    python benchmarks/rehearsal_speed.py [nlp|cv]     (make benchmark ONLY=rehearsal_speed)

Prints each figure and its target, in seconds of wall time unless stated otherwise.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from build.assemble import assemble, write  # noqa: E402
from rehearsal import server  # noqa: E402

STEPS = 10


def rehearse(variant: str) -> tuple[str, float]:
    """Rehearse one variant; return its output and the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal", "play"],
        cwd=ROOT,
        env=os.environ | {"TASK": variant},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, time.monotonic() - started


def read_seconds(printed: str, variant: str) -> dict[str, float]:
    """Parse the seconds of each step, the first of each name, from a rehearsal's output."""
    steps: dict[str, float] = {}
    for name, seconds in re.findall(r"(?m)^(?:   ok|     ) +(\S.*?)  +(\d+\.\d) s", printed):
        steps.setdefault(name.strip(), float(seconds))
    steps["to the prediction"] = float(re.search(rf"(?m)^  {variant} .* (\d+\.\d) s ", printed).group(1))
    return steps


def figures(steps: dict[str, float]) -> list[tuple[str, float, int | None]]:
    """Return (name, seconds, target or None) for the figures that are computed from a rehearsal's steps."""
    create = next(seconds for name, seconds in steps.items() if name.startswith("CreateProject"))
    chain = sum(steps[name] for name in ("install", "git clone", "first build"))
    return [
        ("from template to first prediction", steps["to the prediction"], 45),
        ("install to Lambda, without the job steps", chain + create, 10),
        ("  of which the project's own build", steps["first build"], None),
    ]


def definition_seconds(variant: str) -> float:
    """Return the CPU seconds that a process takes to generate a pipeline definition."""
    with tempfile.TemporaryDirectory() as folder:
        write(assemble(variant), Path(folder) / "seed")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "pipeline.py"], cwd=Path(folder) / "seed", stdout=subprocess.DEVNULL, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def step_overhead_seconds() -> float:
    """Return the emulator's overhead per job: the mean duration of processing jobs whose entrypoint does nothing."""
    emulator = server.start()
    try:
        iam, s3, sagemaker = (emulator.client(name) for name in ("iam", "s3", "sagemaker"))
        trust = '{"Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
        allow = '{"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
        role = iam.create_role(RoleName="benchmark", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        iam.put_role_policy(RoleName="benchmark", PolicyName="s3", PolicyDocument=allow)
        s3.create_bucket(Bucket="benchmark-111122223333")

        def run() -> float:
            name = f"benchmark-{uuid.uuid4().hex[:8]}"
            started = time.monotonic()
            sagemaker.create_processing_job(
                ProcessingJobName=name,
                RoleArn=role,
                AppSpecification={"ImageUri": "image", "ContainerEntrypoint": ["true"]},
                ProcessingResources={
                    "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
                },
            )
            while sagemaker.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"] == "InProgress":
                time.sleep(0.005)
            return time.monotonic() - started

        run()
        return sum(run() for _ in range(STEPS)) / STEPS
    finally:
        emulator.end()


def main(given: list[str]) -> None:
    variant = (given or ["nlp"])[0]
    print(f"rehearsing {variant}; takes about 2 minutes", flush=True)
    printed, total = rehearse(variant)
    rows = [
        *figures(read_seconds(printed, variant)),
        ("the whole rehearsal", total, 120),
        ("definition, process time", definition_seconds(variant), 4),
        ("overhead of the step runner, a step", step_overhead_seconds(), 0.2),
    ]
    print(f"\n{'figure'.ljust(44)} {'seconds':>8} {'target':>8}")
    for name, seconds, target in rows:
        print(f"{name.ljust(44)} {seconds:8.2f} {target or '':>8}")
    print(f"\n{os.cpu_count()} cores; {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main(sys.argv[1:])
