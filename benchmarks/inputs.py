"""Run and count, by kind, the tests of inputs to preprocessing, to training's readers and to the endpoint.

    .venv/bin/python -m benchmarks.inputs

Each row is a section of a test file. It fails if one of its tests fails, or if none passed.
"""

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import progress, show  # noqa: E402
from benchmarks.strictness import suite  # noqa: E402

FILES = {
    "tests/test_tables.py": "files of rows",
    "tests/test_inputs.py": "preprocessing whole",
    "tests/test_bad_data.py": "files that are broken or hostile",
    "tests/test_media.py": "requests to the endpoint",
}
SECTION = re.compile(r"(?m)^# --- (.+?) -+$|^(?:async )?def (test_\w+)")


def sections(text: str) -> dict[str, str]:
    """Return the section of each test of a file: the name in the last `# --- name ---` line above it."""
    found, section = {}, ""
    for heading, test in SECTION.findall(text):
        section = heading or section
        if test:
            found[test] = section
    return found


def main() -> int:
    counts: Counter[tuple[str, str]] = Counter()
    kinds: dict[str, None] = {}
    for file, what in FILES.items():
        section_of = sections((ROOT / file).read_text())
        for case in suite((file,)).iter("testcase"):
            section = section_of[case.attrib["name"].split("[")[0]]
            kind = f"{what}: {section}" if section else what
            outcome = "skipped" if case.find("skipped") is not None else "failed" if len(case) else "passed"
            kinds[kind] = None
            counts[kind, outcome] += 1
        progress(f"  {what}: done")
    rows = [(kind, *(counts[kind, outcome] for outcome in ("passed", "failed", "skipped"))) for kind in kinds]
    show(("kind of input", "right, refused or counted", "not so", "skipped"), rows)
    return 1 if any(failed or not passed for _, passed, failed, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
