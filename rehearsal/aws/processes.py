"""The emulator's child processes: each in its own process group, its output logged, and ended with the emulator."""

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rehearsal.aws import adapter
from rehearsal.surroundings import NO_PROFILES

FLUSH_SECONDS = 0.1
PR_SET_PDEATHSIG = 1

_running: set[subprocess.Popen] = set()
_lock = threading.Lock()
# For PR_SET_PDEATHSIG, the parent is the thread that forked: this one lives as long as the emulator.
_spawner = ThreadPoolExecutor(max_workers=1)


def start(
    command: list[str], environment: dict[str, str], folder: Path, emit: Callable[[list[str]], None]
) -> subprocess.Popen:
    """Start a program in its own session; `emit` gets its stdout and stderr, a list of lines at a time."""
    process = _spawner.submit(
        subprocess.Popen,
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    ).result()
    with _lock:
        _running.add(process)
    process.reader = threading.Thread(target=_read, args=(process, emit), daemon=True)
    process.reader.start()
    return process


def wait(process: subprocess.Popen, timeout_seconds: float | None = None) -> int:
    """Wait until a process and its output end; return the exit status. Raise TimeoutExpired if it takes longer."""
    try:
        code = process.wait(timeout_seconds)
        process.reader.join(timeout=5)
        return code
    finally:
        if process.poll() is not None:
            with _lock:
                _running.discard(process)


def end(running: Iterable[subprocess.Popen], grace_seconds: float) -> None:
    """Send SIGTERM to each process and, once it has ended or the grace period is over, SIGKILL to its group."""
    running = list(running)
    for process in running:
        signal_to(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            wait(process, max(0, deadline - time.monotonic()))
        _kill_group(process)
        wait(process, 10)


def end_all() -> None:
    """End every process that still runs, with at most 2 seconds between SIGTERM and SIGKILL."""
    with _lock:
        processes = list(_running)
    for process in processes:
        signal_to(process, signal.SIGTERM)
    deadline = time.monotonic() + 2
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in processes:
        _kill_group(process)


def signal_to(process: subprocess.Popen, number: int) -> None:
    """Send a signal to the process itself, or, inside a PID namespace, to its entrypoint (the namespace's PID 1)."""
    target = _entrypoint_of(process) if getattr(process, "in_namespace", False) else process.pid
    try:
        os.kill(target, number)
    except ProcessLookupError:
        pass


def _entrypoint_of(process: subprocess.Popen) -> int:
    """Return the id of the entrypoint: the one child of `unshare --fork`."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except OSError:
        children = []
    return int(children[0]) if children else process.pid


def _kill_group(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _read(process: subprocess.Popen, emit: Callable[[list[str]], None]) -> None:
    """Pass non-empty lines to `emit` a few times a second: in batches, so that logging is cheap, and still live."""
    lines: queue.Queue[str | None] = queue.Queue()

    def pump() -> None:
        for raw in process.stdout:
            lines.put(raw.decode("utf-8", "replace").rstrip("\r\n"))
        lines.put(None)

    threading.Thread(target=pump, daemon=True).start()
    ended = False
    while not ended:
        bunch = [lines.get()]
        time.sleep(FLUSH_SECONDS if bunch[0] is not None else 0)
        while not lines.empty():
            bunch.append(lines.get())
        ended = None in bunch
        shown = [line for line in bunch if line]
        if shown:
            emit(shown)


def job_environment(credentials: dict[str, str] | None) -> dict[str, str]:
    """Return the environment variables of a container, with the credentials and the endpoint of the emulated AWS.

    Without credentials, as for a container without network, it has no endpoint either.
    """
    return {
        "PATH": f"{Path(os.environ['REHEARSAL_PYTHON']).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_REGION": adapter.REGION,
        "AWS_DEFAULT_REGION": adapter.REGION,
        **NO_PROFILES,
        "REHEARSAL_ID": os.environ["REHEARSAL_ID"],
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0"),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",  # jobs share this machine: waiting threads must not keep a core busy
        **({"AWS_ENDPOINT_URL": adapter.endpoint(), **credentials} if credentials else {}),
    }
