"""Find and remove what a rehearsal leaves on this machine: processes with its id in their environment, and a folder."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

PREFIX = "rehearsal-"
MARK = ".made-by-a-rehearsal"
PROC = Path("/proc")
SECONDS = 10


def started(pid: int) -> str | None:
    """Return when a process started, which distinguishes it from a later one with the same PID; None if it has ended.

    The value is only to be compared: clock ticks since boot, or a date where there is no /proc.
    """
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    if not (PROC / "self/stat").exists():
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    try:
        # proc(5): after the command name in parentheses come the state and, 19 fields on, the start time.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def processes_of(name: str) -> list[int]:
    """Return a rehearsal's PIDs: processes with its id in their environment, and those that they started without it."""
    marked = marked_with(name)
    return with_kin(marked) if marked else []


def with_kin(marked: list[int]) -> list[int]:
    """Return the given PIDs, the members of the process groups that they lead, and all descendants of these.

    Zombies and this process are dropped.
    """
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,pgid="], capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    ours, size = set(marked), 0
    while len(ours) > size:  # until a pass adds nothing
        size = len(ours)
        ours |= {pid for pid, parent, group in rows if parent in ours or group in ours}
    return [pid for pid in sorted(ours) if started(pid) is not None and pid != os.getpid()]


def marked_with(name: str) -> list[int]:
    """Return the PIDs of the processes with REHEARSAL_ID=<name> in their environment, whatever their parent is."""
    marker = f"REHEARSAL_ID={name}"
    if not (PROC / "self/environ").exists():  # macOS, whose ps -E prints the environment behind the command
        listed = subprocess.run(["ps", "-Eww", "-axo", "pid=,command="], capture_output=True, text=True, check=True)
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if marker in line.split()]
    found = []
    for folder in PROC.iterdir():
        try:
            if folder.name.isdigit() and marker.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended, or belongs to another user
    return [pid for pid in found if pid != os.getpid()]


def end_processes(name: str) -> None:
    """Kill a rehearsal's processes until none is left. Raises RuntimeError if some remain after SECONDS seconds."""
    deadline = time.monotonic() + SECONDS
    while left := processes_of(name):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {left} of {name} do not end. End them by hand.")
        time.sleep(0.02)


def make_folder(folder: Path) -> None:
    """Create a rehearsal's folder, accessible to this user only, with the marker file that allows its removal."""
    folder.mkdir(mode=0o700)
    (folder / MARK).touch()


def remove_folder(folder: Path) -> None:
    """Remove a folder that a rehearsal created. Raises ValueError for any other."""
    if folder.is_symlink() or not folder.exists():
        return
    try:
        ours = re.fullmatch(rf"{PREFIX}\w+", folder.name) and folder.stat().st_uid == os.getuid()
        # Without the marker, only an empty folder is removed: its process was killed before it wrote the marker.
        if not ours or not ((folder / MARK).exists() or not any(folder.iterdir())):
            raise ValueError(
                f"{folder} was made by no rehearsal, and stays. Remove the file in .rehearsal that names it."
            )
        with (folder / MARK).open("a") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)  # one process at a time removes it
            empty(folder)
            folder.rmdir()
    except FileNotFoundError:
        return  # another process has removed it meanwhile


def empty(folder: Path) -> None:
    """Remove the contents of a rehearsal's folder, the marker last. Raises RuntimeError if anything remains."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        elif path.name != MARK:
            path.unlink(missing_ok=True)
    if left := [path.name for path in folder.iterdir() if path.name != MARK]:
        raise RuntimeError(f"{folder} cannot be removed whole: {', '.join(left)} stays. Remove it by hand.")
    (folder / MARK).unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder of this user, including folders in it that a build or a job has made read-only."""
    for parent, folders, _ in os.walk(folder):
        for each in (parent, *(os.path.join(parent, name) for name in folders)):
            if not os.path.islink(each):
                os.chmod(each, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
