"""Kill rehearsals with SIGKILL at random moments, and check that everything they left is found and removed.

    .venv/bin/python -m benchmarks.kills [20]

`make rehearse-down` and the next rehearsal do this cleanup. The killed rehearsal installs the bundle and takes a small
project to its endpoint, so that builds, functions, jobs with their own namespaces, or an endpoint's container may be
running.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import permissions  # noqa: E402
from benchmarks.measuring import progress, show  # noqa: E402
from benchmarks.small_project import Walk  # noqa: E402
from rehearsal import server, traces  # noqa: E402

MOMENTS = ("started", "installed", "created", "built", "ran", "deployed")
KILLED = ("its own process", "the emulator", "both")


def walk() -> None:
    """Take a small project to its endpoint, print each moment as it is reached, then sleep.

    The first line of output is the emulator's folder and process id.
    """
    emulator = permissions.start()
    print(emulator.folder, emulator.pid, flush=True)
    print("started", flush=True)
    launch, key = permissions.install(emulator)
    print("installed", flush=True)
    project = Walk(emulator, "Killed", patience=120)
    project.create(launch, permissions.BUCKET, key)
    print("created", flush=True)
    project.build()
    print("built", flush=True)
    package = project.run()
    print("ran", flush=True)
    project.deploy(package)
    print("deployed", flush=True)
    time.sleep(600)


def kill(moment: str, seconds: float, which: str) -> tuple[int, list[str]]:
    """Kill a rehearsal some seconds after a moment; return how many processes it had, and what the cleanup left.

    `which` is one of KILLED.
    """
    code = "from benchmarks.kills import walk; walk()"
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    folder, pid = owner.stdout.readline().split()
    while owner.stdout.readline().strip() != moment:
        assert owner.poll() is None, f"it ended before it was {moment}"
    time.sleep(seconds)
    name = Path(folder).name
    count = len(traces.processes_of(name))
    if which != "its own process":
        os.kill(int(pid), signal.SIGKILL)
    if which != "the emulator":
        owner.kill()
    else:
        owner.terminate()  # without the emulator it has failed, or only sleeps
    owner.wait()
    server.end_orphans()
    left = [f"process {number}" for number in traces.processes_of(name)]
    return count, left + ([folder] if Path(folder).exists() else [])


def main() -> int:
    number, chance = int(sys.argv[1]) if len(sys.argv) > 1 else 20, random.Random(1)
    rows: Counter = Counter()
    most, left = 0, []
    for done in range(number):
        moment, which = MOMENTS[done % len(MOMENTS)], chance.choice(KILLED)
        count, remains = kill(moment, chance.uniform(0, 3), which)
        progress(f"  {done + 1} of {number}: {which}, after it was {moment}: {count} processes, left: {remains}")
        rows[moment] += 1
        most, left = max(most, count), left + remains
    table = [(moment, rows[moment]) for moment in MOMENTS]
    show(("killed up to 3 s after it was", "times"), table)
    show(("kills", "most processes at once", "left over"), [(number, most, len(left))])
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
