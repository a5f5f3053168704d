"""CodeBuild: queue builds, run a limited number of them at a time, and keep their records."""

import contextvars
import copy
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from ministack.core import responses
from ministack.services import codebuild

from rehearsal.aws.adapter.services import Response

Build = dict[str, Any]


def run_builds(execute: Callable[[Build, dict[str, Any]], None], stop: Callable[[Build], None], places: int) -> None:
    """Run builds with `execute(build, project)`, at most `places` of them at a time; the others wait in phase QUEUED.

    `execute` keeps the build's record up to date, and ends a build at once that was stopped before it started.
    `stop(build)` ends the command that a build is running.
    docs.aws.amazon.com/codebuild/latest/APIReference/API_BuildPhase.html: QUEUED is waiting behind other builds.
    """
    pool, lock = ThreadPoolExecutor(places), threading.Lock()
    waiting: dict[str, tuple[Future, Callable[[], None]]] = {}

    def run(build: Build, project: dict[str, Any]) -> None:
        with lock:
            waiting.pop(build["id"], None)
        end_phase(build, "QUEUED", "STOPPED" if stop_requested(build) else "SUCCEEDED")
        execute(build, project)

    def enqueue(build_id: str, project: dict[str, Any]) -> None:
        build = codebuild._builds[build_id]
        build["currentPhase"] = "QUEUED"
        start = partial(contextvars.copy_context().run, run, build, project)
        with lock:
            waiting[build_id] = (pool.submit(start), start)
        if stop_requested(build):
            leave_queue(build_id)

    def leave_queue(build_id: str) -> None:
        """End a stopped build at once if it is still queued, instead of when a place becomes free."""
        with lock:
            future, start = waiting.pop(build_id, (None, None))
        if future and future.cancel():  # false once the build is running: `stop` ends that one
            threading.Thread(target=start, daemon=True).start()

    def stop_build(data: dict[str, Any]) -> Response:
        build = codebuild._builds.get(data["id"])
        if not build or build["buildStatus"] == "IN_PROGRESS":
            answer = original_stop(data)
        else:
            answer = responses.json_response({"build": copy.deepcopy(build)})
        if build:
            leave_queue(build["id"])
            stop(build)
        return answer

    original_stop = codebuild._stop_build
    codebuild.EXECUTE_BUILDS = True
    codebuild._get_docker = lambda: None  # no build has a Docker container
    codebuild._execute_build, codebuild._stop_build = enqueue, stop_build


def begin_phase(build: Build, name: str) -> None:
    """Record the start of a build's phase."""
    build["phases"].append({"phaseType": name, "startTime": int(time.time())})
    build["currentPhase"] = name


def end_phase(build: Build, name: str, status: str, message: str = "") -> None:
    """Record the end of a build's phase, with an error message if given; in a stopped build, FAILED becomes STOPPED."""
    if status == "FAILED" and stop_requested(build):
        status, message = "STOPPED", ""
    codebuild._record_phase(build, name, status)
    if message:
        for phase in build["phases"]:
            if phase["phaseType"] == name:
                phase["contexts"] = [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": message}]


def stop_requested(build: Build) -> bool:
    """Return whether a build was stopped by StopBuild."""
    return codebuild._stop_requested(build["id"])


def finish_build(build: Build, status: str) -> None:
    """Record a build's end, as STOPPED if it was stopped first."""
    codebuild._finish_build(build, "STOPPED" if stop_requested(build) else status)
