"""CodeBuild: run builds by ourselves, and keep their records."""

import time
from collections.abc import Callable
from typing import Any

from ministack.services import codebuild


def run_builds(execute: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Run builds by `execute(build, project)`, which keeps the build's record up to date."""

    def run(build_id: str, project: dict[str, Any]) -> None:
        execute(codebuild._builds[build_id], project)

    codebuild.EXECUTE_BUILDS = True
    codebuild._get_docker = lambda: None
    codebuild._execute_build = run


def begin_phase(build: dict[str, Any], name: str) -> None:
    """Note in a build's record that a phase began."""
    build["phases"].append({"phaseType": name, "startTime": int(time.time())})
    build["currentPhase"] = name
    build["buildStatus"] = "IN_PROGRESS"


def end_phase(build: dict[str, Any], name: str, status: str, message: str = "") -> None:
    """Note how a phase ended, with what went wrong."""
    codebuild._record_phase(build, name, status)
    if message:
        for phase in build["phases"]:
            if phase["phaseType"] == name:
                phase["contexts"] = [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": message}]


def finish_build(build: dict[str, Any], status: str) -> None:
    """Note a build's end, unless somebody stopped it first."""
    codebuild._finish_build(build, "STOPPED" if codebuild._stop_requested(build["id"]) else status)
