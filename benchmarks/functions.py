"""Measure the cold start and memory of the functions, and the time that checking a definition takes.

As in a Lambda cold start, a new process imports the function from its unzipped folder, creates its clients and checks a
definition. The baseline does the same, but reads the SageMaker service model from botocore instead of the reduced copy
in the zip.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import parse, progress, show
from build.package import function_files, zipped
from spotkit import checks

ROOT = Path(__file__).parent.parent
RUNTIME = ROOT / "rehearsal/runtime"
PYTHON = ROOT / ".venv/emulator/bin/python"  # has boto3 and little else, like Lambda's runtime
COLD = """
import json, re, sys, time
started = time.perf_counter()
sys.path.insert(0, sys.argv[1])
import execute_pipeline
from spotkit import checks
if sys.argv[3] == "botocore":
    checks.service.CUT = checks.service.CUT.with_name("not-there.json")
config = execute_pipeline.Config(retries={"mode": "standard"})
for name in ("s3", "sagemaker", "sns"):
    execute_pipeline.boto3.client(name, config=config, region_name="us-east-1")
problems = checks.check(checks.read(open(sys.argv[2], "rb").read()))
assert not problems, problems
seconds = time.perf_counter() - started
status = open("/proc/self/status").read()  # ru_maxrss has the parent's, from before it became this program
print(json.dumps([seconds, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024]))
"""


def cold_start(folder: str, way: str) -> tuple[float, float]:
    """Return the seconds and the peak memory in MiB of one cold start."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(RUNTIME), "AWS_EC2_METADATA_DISABLED": "true"}
    command = [str(PYTHON), "-c", COLD, folder, str(ROOT / "pipeline_json/nlp.json"), way]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes


def long_definition(steps: int) -> dict[str, Any]:
    """Return the nlp definition with its Train step repeated until there are `steps` steps."""
    definition = json.loads((ROOT / "pipeline_json/nlp.json").read_text())
    train = next(step for step in definition["Steps"] if step["Name"] == "Train")
    for number in range(steps - 6):
        text = json.dumps(train).replace('"checkpoints", "Train"', f'"checkpoints", "Train{number}"')
        definition["Steps"].append(json.loads(text) | {"Name": f"Train{number}"})
    return definition


def main(given: list[str] | None = None) -> None:
    arguments = parse(given, __doc__)
    files = function_files()
    starts: dict[str, list[tuple[float, float]]] = {"botocore": [], "cut": []}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(content)
        for number in range(2 if arguments.quick else 11):
            for way, found in starts.items():
                found.append(cold_start(folder, way))
                progress(f"  start {number + 1}, {way}: {found[-1][0]:.2f} s")
    rows = []
    base = statistics.median(seconds for seconds, _ in starts["botocore"][1:])
    for way, name in (("botocore", "model out of botocore"), ("cut", "ours: model cut when packaged")):
        seconds = statistics.median(seconds for seconds, _ in starts[way][1:])
        megabytes = max(megabytes for _, megabytes in starts[way])
        rows.append((name, f"{seconds:.2f}", f"{base / seconds:.1f}x", f"{megabytes:.0f}"))
    show(("cold start", "seconds", "ratio", "MB"), rows)
    show(("zip", "MB"), [(f"{len(files)} files", f"{len(zipped(files)) / 2**20:.1f}")])

    steps = 50 if arguments.quick else 500
    definition = long_definition(steps)
    checks.check(long_definition(10))
    started = time.process_time()
    problems = checks.check(definition)
    show(("check of a definition", "seconds"), [(f"{steps} steps", f"{time.process_time() - started:.2f}")])
    if problems:
        sys.exit(f"{len(problems)} problems, the first: {problems[0]}")


if __name__ == "__main__":
    main()
