"""Generate pipeline_json/<variant>.json from the assembled seeds, with the names of an example account, and docs/rules.md."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from build import ROOT, VARIANTS
from build.assemble import assemble, write
from spotkit import checks

FOLDER = ROOT / "pipeline_json"
RULES = ROOT / "docs/rules.md"
RULES_HEAD = """# Rules of the check of definitions
What the build and the project's function find in a pipeline definition before AWS sees it. Each message ends in the id of
its rule. Before these, the definition's shape is checked against `spotkit/checks/schema.json`.

A team silences one of the first table with a reason, in its `pyproject.toml`:

```toml
[tool.spotkit.silenced]
images = "our registry is a mirror"
```
"""


def generate(variant: str) -> str:
    """Return the pipeline definition that the assembled seed's pipeline.py prints. Raise ValueError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        seed = Path(folder) / variant
        write(assemble(variant), seed)
        # Pass on only PATH: variables of a build, such as PROJECT_BUCKET, would change the definition.
        environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "pipeline.py"], cwd=seed, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ValueError(f"pipeline.py of {variant} failed:\n{done.stderr.strip()}")
    return done.stdout


def rules() -> str:
    """Return docs/rules.md: every rule with its id, its sentence and its source."""

    def table(of_project: bool) -> str:
        chosen = [rule for rule in checks.RULES.values() if rule.of_project == of_project]
        rows = [f"| `{rule.id}` | {rule.sentence} | {source_of(rule)} |" for rule in chosen]
        return "\n".join(["| id | what has to hold | source |", "|---|---|---|", *rows])

    def source_of(rule: checks.Rule) -> str:
        address, _, page = rule.source.rpartition("/")
        return f"[{page}](https://{rule.source})" if address.startswith("docs.aws.amazon.com") else rule.source

    own = "The function also holds a definition against what its project owns. These rules cannot be silenced.\n"
    return f"{RULES_HEAD}\n{table(False)}\n\n## What a project owns\n{own}\n{table(True)}\n"


def write_all() -> list[Path]:
    """Write every variant's definition to pipeline_json/, and the rules to docs/; return the paths."""
    FOLDER.mkdir(exist_ok=True)
    paths = []
    for variant in VARIANTS:
        path = FOLDER / f"{variant}.json"
        path.write_text(generate(variant))
        paths.append(path)
    RULES.write_text(rules())
    return [*paths, RULES]
