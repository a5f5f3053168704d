"""Lint code, templates and files for `make lint`: run one gate per tool, all in parallel, and print a line for each.

A gate returns its tool's output if it has findings, else "". Exceptions are listed with their reasons in
pyproject.toml, .checkov.yaml, a resource's Metadata, build/validation.py, build/policies.py, and below.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from build import ROOT, VARIANTS
from build.assemble import assemble, git, write

BIN = ROOT / ".venv/bin"
LINT = ROOT / ".venv/lint/bin"
TEMPLATES = (*sorted((ROOT / "templates").glob("*.yaml")), ROOT / "seed_code/common/spotkit/deploy/endpoint.yaml")
# Strings that look like secrets but are not.
NO_SECRETS = (
    "--exclude-files=^(pipeline_json/|build/releases[.]toml$|(requirements/[a-z]+|seed_code/common/requirements)[.]txt$)",  # hashes
    "--exclude-lines=(?i)tokenizers|max_tokens|ServiceToken|BearerToken|secretsmanager:|wandb_secret",  # names, not values
    "--exclude-secrets=^(unused|wrong|sesame|theirs|tracking|AKIA(WRONG)+0)$",  # placeholders where a value is required
)


def code(folder: Path) -> str:
    return run_tool(BIN / "ruff", "check", "--quiet", folder) + run_tool(
        BIN / "ruff", "format", "--quiet", "--check", folder
    )


def landed(variant: str) -> str:
    """Lint a landed repository by its own configuration."""
    with tempfile.TemporaryDirectory() as folder:
        write(assemble(variant), Path(folder))
        return code(Path(folder))


def schemas(*templates: Path) -> str:
    return run_tool(BIN / "cfn-lint", *templates)


def validation(*templates: Path) -> str:
    return run_tool(LINT / "python", "-m", "build.validation", *templates)


def checkov(*templates: Path) -> str:
    return run_tool(LINT / "checkov", "--config-file", ROOT / ".checkov.yaml", "--file", *templates)


def policies(*templates: Path) -> str:
    return run_tool(LINT / "python", "-m", "build.policies", *templates)


def secrets(*files: Path) -> str:
    return run_tool(BIN / "detect-secrets-hook", "--no-verify", *NO_SECRETS, *files)  # verifying sends them to services


def run_tool(*command: Path | str) -> str:
    """Run a tool; return its output if it ends with a nonzero status, else ""."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return (done.stdout + done.stderr).strip() or f"{Path(command[0]).name} ended with {done.returncode}."


def gates() -> dict[str, Callable[[], str]]:
    """Return every gate by its name. The slowest is first, so that the others run in parallel with it."""
    files = [Path(name) for name in git("ls-files", "-z").split("\0") if name and (ROOT / name).exists()]
    return {
        "checkov: secure resources": partial(checkov, *TEMPLATES),
        "cfn-lint: schemas": partial(schemas, *TEMPLATES),
        "detect-secrets: tracked files": partial(secrets, *files),
        "cloudformation-validate: Guard rules": partial(validation, *TEMPLATES),
        "parliament: policies": partial(policies, *TEMPLATES),
        "ruff: code": partial(code, ROOT),
        **{f"ruff: a landed {variant} repository": partial(landed, variant) for variant in VARIANTS},
    }


def lint() -> bool:
    """Run every gate and print a line for each; return whether all are clean."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {name: pool.submit(timed, gate) for name, gate in gates().items()}
        clean = True
        for name, future in running.items():
            found, seconds = future.result()
            print(f"  {'!!!' if found else ' ok'} {name:38} {seconds:6.1f} s", flush=True)
            if found:
                print(found, flush=True)
                clean = False
    if clean:
        print("lint: clean")
    return clean


def timed(gate: Callable[[], str]) -> tuple[str, float]:
    started = time.monotonic()
    return gate(), time.monotonic() - started
