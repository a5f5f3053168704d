"""Runs a landed script many times: imported once, forked for every run, so that a run starts in a moment.

What runs is the script's own main() in a process of its own, which gets its own signals.
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
sys.path.insert(0, "src")
script = sys.argv[1]
module = importlib.import_module(script)
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
    """A process that has imported a script of a landed repository.

    When a run has ended, `starting` is the CPU time in seconds that importing took, once; `seconds` is that of the run
    alone, and `peak` is the most memory in bytes that it had, with what was imported.
    """

    starting = seconds = 0.0
    peak = 0

    def __init__(self, repository: Path, script: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, script],
            cwd=repository,
            env=os.environ | {"OMP_NUM_THREADS": "1"},  # small work: threads would wait for each other
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, arguments: list[Any], log: Path, **environment: str) -> int:
        """Begin a run; answers the process's number."""
        order = {"arguments": [str(argument) for argument in arguments], "log": str(log), "environment": environment}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        """The exit status of the run: negative for a signal."""
        code, self.starting, self.seconds, self.peak = json.loads(self.process.stdout.readline())
        return code

    def run(self, arguments: list[Any], log: Path, seconds: float = 600) -> tuple[int, str]:
        """Run it to its end, or kill it when it takes too long; answers the exit status and what it said."""
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
