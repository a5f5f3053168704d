"""Create, push to and delete projects one after another, and check that a rehearsal's use of resources does not grow.

    .venv/bin/python -m benchmarks.long_use [25]

Every project has a build, a run and an endpoint, and 64 MiB of data in its bucket.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

from benchmarks import permissions
from benchmarks.measuring import progress, show
from benchmarks.small_project import Stuck, Walk
from rehearsal import traces
from rehearsal.server import ACCOUNT, Emulator

OBJECTS, SIZE = 8, 8 * 1024 * 1024
MEGABYTE = 1024 * 1024
MAX_MEGABYTES = 4  # that the emulator may keep of a deleted project: events, logs and job records


class Taken(NamedTuple):
    """Resources of the machine that a rehearsal uses: processes, resident memory in MiB, files."""

    processes: int
    megabytes: float
    files: int


def taken(emulator: Emulator) -> Taken:
    """Count a rehearsal's processes, their resident memory, and the files in its folder."""
    folder, pages = Path(emulator.folder), 0
    pids = traces.processes_of(folder.name)
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])  # resident set size
        except OSError:
            continue  # the process has just ended
    files = sum(len(names) for _, _, names in os.walk(folder))
    return Taken(len(pids), pages * os.sysconf("SC_PAGESIZE") / MEGABYTE, files)


def use(walk: Walk, launch: str, key: str) -> Taken:
    """Create a project, use it and delete it; return the resources in use just before its deletion."""
    s3 = walk.emulator.client("s3")
    walk.create(launch, permissions.BUCKET, key)
    for number in range(OBJECTS):
        s3.put_object(Bucket=f"sagemaker-{walk.id}-{ACCOUNT}", Key=f"data/{number}", Body=os.urandom(SIZE))
    walk.build()
    walk.deploy(walk.run())
    walk.push()
    most = taken(walk.emulator)
    walk.delete()
    return most


def main() -> int:
    projects = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    emulator = permissions.start()
    rows: list[tuple[str, Taken]] = []
    try:
        launch, key = permissions.install(emulator)
        use(Walk(emulator, "First", patience=300), launch, key)  # the first one creates what stays
        rows.append(("after the first project", taken(emulator)))
        for number in range(projects):
            most = use(Walk(emulator, f"Long{number}", patience=300), launch, key)
            progress(f"  {number + 1} of {projects}: with the project {most}, without {taken(emulator)}")
        rows += [("with the last project", most), (f"after {projects} more projects", taken(emulator))]
    except Stuck as stuck:
        progress(f"  {stuck}")
        return 1
    finally:
        emulator.end()
    show(
        ("a rehearsal", "processes", "memory", "files"),
        [(name, found.processes, f"{found.megabytes:.0f} MB", found.files) for name, found in rows],
    )
    before, after = rows[0][1], rows[-1][1]
    grown = after.megabytes - before.megabytes > MAX_MEGABYTES * projects
    return 1 if grown or after.processes > before.processes else 0


if __name__ == "__main__":
    sys.exit(main())
