"""CodeBuild: run a repository's own buildspec, phase by phase, with the build project's role."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import yaml

from rehearsal.aws import adapter, processes
from rehearsal.loopback import git_credentials
from rehearsal.surroundings import without_proxy

GRACE_SECONDS = 2
PHASES = ("install", "pre_build", "build", "post_build")


# Environment variables for access to package registries, which builds download from.
REGISTRIES = re.compile(
    r"(UV|PIP)_\w*(INDEX|CERT|TLS|FIND_LINKS|TRUSTED|CONFIG)|SSL_CERT|REQUESTS_CA_BUNDLE|(?i:(https?|all)_proxy)"
)


class Builds:
    """Runs builds, whose records ministack's CodeBuild keeps."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.commands: dict[str, subprocess.Popen] = {}
        folder.mkdir(parents=True)
        adapter.run_builds(self.execute, self.stop, places=max(2, os.cpu_count() or 2))
        adapter.authorize_on("codebuild", project_arn)
        adapter.add_target("codebuild", start_build)

    def execute(self, build: dict[str, Any], project: dict[str, Any]) -> None:
        """Run one build, keep its record and log up to date, and raise the event of its end."""
        build["logs"] = {"groupName": f"/aws/codebuild/{project['name']}", "streamName": build["id"].split(":")[1]}
        log = BuildLog(build["logs"])
        workspace = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            succeeded = not adapter.stop_requested(build) and self.succeeds(build, project, workspace, log)
            adapter.finish_build(build, "SUCCEEDED" if succeeded else "FAILED")
        except Exception as error:
            log([f"[Container] the build could not run: {error}"])
            adapter.finish_build(build, "FAULT")
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
        tell(build, project)

    def succeeds(self, build: dict, project: dict, workspace: Path, log: "BuildLog") -> bool:
        """Run a build in its workspace with its role's credentials; return whether it succeeded."""
        service, role = "codebuild.amazonaws.com", project["serviceRole"]
        credentials = adapter.credentials_of(role, "AWSCodeBuild", service, project["arn"])
        environment = build_environment(build, project, credentials)
        return self.download(build, project, environment, workspace, log) and self.run_buildspec(
            build, project, environment, workspace / "src", log
        )

    def stop(self, build: dict[str, Any]) -> None:
        """End the command that a build is running, without waiting for it."""
        if command := self.commands.get(build["id"]):
            threading.Thread(target=processes.end, args=([command], GRACE_SECONDS), daemon=True).start()

    def run(self, build: dict, command: list[str], environment: dict[str, str], folder: Path, log: "BuildLog") -> int:
        """Run one command of a build, and return its exit status. Stopping the build ends the command."""
        process = self.commands[build["id"]] = processes.start(command, environment, folder, log)
        try:
            if adapter.stop_requested(build):
                processes.end([process], GRACE_SECONDS)
            return processes.wait(process)
        finally:
            del self.commands[build["id"]]

    def download(
        self, build: dict, project: dict, environment: dict[str, str], workspace: Path, log: "BuildLog"
    ) -> bool:
        """Clone the repository at the source version, with the role's git credentials; return whether it succeeded."""
        adapter.begin_phase(build, "DOWNLOAD_SOURCE")
        version = build["sourceVersion"].removeprefix("refs/heads/")
        options = git_credentials(Path(os.environ["REHEARSAL_PYTHON"]))
        commands = (
            ["git", *options, "clone", "--quiet", project["source"]["location"], "src"],
            ["git", "-C", "src", "checkout", "--quiet", version],
        )
        for command in commands:
            if self.run(build, command, environment, workspace, log):
                adapter.end_phase(build, "DOWNLOAD_SOURCE", "FAILED", f"{' '.join(command[-3:])} failed")
                return False
        resolved = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=workspace / "src", capture_output=True, text=True, check=True
        )
        build["resolvedSourceVersion"] = environment["CODEBUILD_RESOLVED_SOURCE_VERSION"] = resolved.stdout.strip()
        adapter.end_phase(build, "DOWNLOAD_SOURCE", "SUCCEEDED")
        return True

    def run_buildspec(
        self, build: dict, project: dict, environment: dict[str, str], source: Path, log: "BuildLog"
    ) -> bool:
        """Run the phases of the buildspec in order; return whether all succeeded.

        As in CodeBuild, post_build also runs after a failed build phase, but not after a failed install or pre_build.
        """
        name = project["source"].get("buildspec") or "buildspec.yml"
        path = source / name
        if not path.exists():
            log([f"[Container] YAML_FILE_ERROR: {name} does not exist"])
            adapter.end_phase(build, "DOWNLOAD_SOURCE", "FAILED", f"YAML_FILE_ERROR: {name} does not exist")
            return False
        spec = yaml.safe_load(path.read_text())
        if refused := unsupported_parts(spec):
            log([f"[Container] The emulator does not support {', '.join(refused)} of a buildspec"])
            adapter.end_phase(build, "DOWNLOAD_SOURCE", "FAILED", f"not supported: {', '.join(refused)}")
            return False
        environment |= {
            k: str(v) for k, v in (spec.get("env", {}).get("variables") or {}).items() if k not in environment
        }
        environment["CODEBUILD_SRC_DIR"] = str(source)
        succeeded = True
        for phase in PHASES:
            commands = ((spec.get("phases") or {}).get(phase) or {}).get("commands") or []
            if not commands or (not succeeded and phase != "post_build") or adapter.stop_requested(build):
                continue
            environment["CODEBUILD_BUILD_SUCCEEDING"] = str(int(succeeded))
            failed = self.run_phase(build, phase, commands, environment, source, log)
            succeeded = succeeded and failed is None
            if failed and phase in ("install", "pre_build"):
                break
        return succeeded

    def run_phase(
        self, build: dict, phase: str, commands: list[str], environment: dict[str, str], source: Path, log: "BuildLog"
    ) -> str | None:
        """Run a phase's commands until one fails; return the failed command, or None."""
        adapter.begin_phase(build, phase.upper())
        log([f"[Container] Entering phase {phase.upper()}"])
        for command in commands:
            log([f"[Container] Running command {command}"])
            # Each command gets its own shell. In CodeBuild, `cd` and `export` affect later commands, too; our buildspec
            # needs neither.
            code = self.run(build, ["sh", "-c", command], environment, source, log)
            if code:
                message = f"Error while executing command: {command.strip()}. Reason: exit status {code}"
                log([f"[Container] Phase complete: {phase.upper()} State: FAILED", f"[Container] {message}"])
                adapter.end_phase(build, phase.upper(), "FAILED", message)
                return command
        log([f"[Container] Phase complete: {phase.upper()} State: SUCCEEDED"])
        adapter.end_phase(build, phase.upper(), "SUCCEEDED")
        return None


def tell(build: dict[str, Any], project: dict[str, Any]) -> None:
    """Raise a build's final event: docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications.html."""
    logs = {"group-name": build["logs"]["groupName"], "stream-name": build["logs"]["streamName"]}
    logs["deep-link"] = f"{adapter.endpoint()}/#logsV2:log-groups/log-group/{logs['group-name']}/{logs['stream-name']}"
    detail = {
        "build-status": build["buildStatus"],
        "project-name": project["name"],
        "build-id": build["arn"],
        "additional-information": {"logs": logs},
    }
    adapter.raise_event("aws.codebuild", "CodeBuild Build State Change", detail, [build["arn"]])


def unsupported_parts(spec: dict[str, Any]) -> list[str]:
    """Return the parts of a buildspec that are not emulated, and so must be refused instead of ignored."""
    phases = spec.get("phases") or {}
    unknown = (set(spec) - {"version", "env", "phases"}) | (set(spec.get("env") or {}) - {"variables"})
    unknown |= set(phases) - set(PHASES)
    unknown |= {key for phase in phases.values() for key in phase or {}} - {"commands", "runtime-versions"}
    return sorted(unknown)


class BuildLog:
    """A callable that writes lines to a build's log stream."""

    def __init__(self, logs: dict[str, str]):
        self.logs = logs

    def __call__(self, lines: list[str]) -> None:
        adapter.write_log(self.logs["groupName"], self.logs["streamName"], lines)


def build_environment(build: dict[str, Any], project: dict[str, Any], credentials: dict[str, str]) -> dict[str, str]:
    """Return the environment variables of the build project, and those that CodeBuild sets itself."""
    declared = {entry["name"]: entry["value"] for entry in project["environment"].get("environmentVariables", [])}
    return {
        **processes.job_environment(credentials),
        **{name: value for name, value in os.environ.items() if REGISTRIES.match(name)},
        **without_proxy(os.environ),
        **declared,
        "CODEBUILD_BUILD_ID": build["id"],
        "CODEBUILD_BUILD_ARN": build["arn"],
        "CODEBUILD_SOURCE_VERSION": build["sourceVersion"],
        "CODEBUILD_INITIATOR": build["initiator"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # no build image has the plugins of this bundle's own tests
    }


def project_arn(operation: str, parameters: dict[str, Any], path: str) -> str:
    """Return the ARN of a build's project, which IAM authorizes (service authorization reference of CodeBuild)."""
    ids = parameters.get("ids") or [parameters.get("id", "")]
    name = parameters.get("projectName") or parameters.get("name") or ids[0].split("/")[-1].split(":")[0]
    return f"arn:aws:codebuild:{adapter.REGION}:{adapter.ACCOUNT}:project/{name}" if name else "*"


def start_build(rule_arn: str, target: dict[str, Any], given: str | None) -> None:
    """Start a build for an EventBridge rule, with the target's role.

    `given` is the target's own input, if it has one: JSON with parameters of StartBuild.
    """
    credentials = adapter.credentials_of(target["RoleArn"], "EventBridge", "events.amazonaws.com", rule_arn)
    name = target["Arn"].split(":project/")[1]
    adapter.client("codebuild", credentials).start_build(projectName=name, **json.loads(given or "{}"))
