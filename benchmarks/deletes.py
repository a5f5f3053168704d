"""Delete projects at awkward moments and check that nothing is left of them.

    .venv/bin/python -m benchmarks.deletes [--versions 5000] [--projects 20]

The bucket of the first project has thousands of versions. Each project is deleted at a random moment of its build, run
or deployment.
"""

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

from benchmarks import permissions
from benchmarks.measuring import progress, show
from benchmarks.permissions import BUCKET, install
from benchmarks.small_project import Stuck, Walk
from rehearsal.scenario import leftovers

MOMENTS = ("while it builds", "while it runs", "when it has run", "while it deploys", "when it is deployed")


def lead_to(walk: Walk, moment: str) -> None:
    """Advance a project to one of MOMENTS."""
    if moment == MOMENTS[0]:
        return
    walk.build()
    walk.until(walk.runs, "a run to start")
    if moment == MOMENTS[1]:
        return
    package = walk.run()
    if moment == MOMENTS[3]:
        walk.sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    elif moment == MOMENTS[4]:
        walk.deploy(package)


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=5000)
    parser.add_argument("--projects", type=int, default=20)
    arguments = parser.parse_args(given)
    chance = random.Random(1)
    emulator = permissions.start()
    deleted, left = Counter(), Counter()
    try:
        launch, key = install(emulator)
        for number in range(arguments.projects):
            moment = MOMENTS[number % len(MOMENTS)]
            walk = Walk(emulator, f"Deleted{number}", patience=120)
            walk.create(launch, BUCKET, key)
            lead_to(walk, moment)
            if number == 0:
                s3 = emulator.client("s3")
                for version in range(arguments.versions):
                    s3.put_object(Bucket=f"sagemaker-{walk.id}-111122223333", Key=f"data/{version % 7}", Body=b"x")
            time.sleep(chance.random() * 2)
            try:
                walk.delete()
                left[moment] += len(leftovers(emulator, walk.id))
            except Stuck as stuck:
                left[moment] += 1
                progress(f"  {walk.name}, {moment}: {stuck}")
            deleted[moment] += 1
            progress(f"  {number + 1} of {arguments.projects}: {moment}")
    finally:
        emulator.end()
    rows = [(moment, deleted[moment], left[moment]) for moment in MOMENTS if deleted[moment]]
    show((f"deleted ({arguments.versions} versions in the first)", "projects", "left over"), rows)
    return 1 if sum(left.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
