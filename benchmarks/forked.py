"""Run a landed script many times: import it once, and fork for each run, so that runs start at once.

Each run is the script's own main() in its own process, which can be sent signals.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

PROGRAM = """
import importlib, json, os, sys, time
sys.path.insert(0, ".")
script = sys.argv[1]
module = importlib.import_module(f"spotkit.{script}")
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        os.environ.update(order["environment"])
        sys.argv = [f"{script}.py", *order["arguments"]]
        code = 1
        try:
            module.job.run(module.main)
            code = 0
        except SystemExit as end:
            code = end.code
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(child, flush=True)
    _, status, used = os.wait4(child, 0)
    code, seconds = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
    print(json.dumps([code, time.process_time(), seconds, used.ru_maxrss * 1024]), flush=True)
"""


class Forked:
    """A process that has imported a script of a landed repository and forks for each run.

    After a run, `seconds` is its CPU time and `peak` its peak memory in bytes, imported libraries included; `starting`
    is the CPU time in seconds of the import, which happens once.
    """

    starting = seconds = 0.0
    peak = 0

    def __init__(self, repository: Path, script: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, script],
            cwd=repository,
            env=os.environ | {"OMP_NUM_THREADS": "1"},  # the work is too small for several threads
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, arguments: list[Any], log: Path, **environment: str) -> int:
        """Start a run with its output appended to `log`; return its process id."""
        order = {"arguments": [str(argument) for argument in arguments], "log": str(log), "environment": environment}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        """Wait for the run to end; return its exit status, negative if a signal ended it."""
        code, self.starting, self.seconds, self.peak = json.loads(self.process.stdout.readline())
        return code

    def run(self, arguments: list[Any], log: Path, seconds: float = 600) -> tuple[int, str]:
        """Run to the end, or kill the run after `seconds`; return the exit status and the content of the log."""
        process = self.start(arguments, log)
        timer = threading.Timer(seconds, os.kill, (process, signal.SIGKILL))
        timer.start()
        try:
            return self.wait(), log.read_text(errors="replace")
        finally:
            timer.cancel()

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()
