"""Run and count the tests that compare the emulator with AWS: recordings, operations, malformed and hostile calls.

    .venv/bin/python -m benchmarks.strictness

Tests of the check with public definitions are counted, too. Each row is a part of the test suite. It fails if one of
its tests fails, or if none passed.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import progress, show  # noqa: E402

PARTS = {
    "recordings of real AWS, replayed": ("tests/test_recordings.py", "-k", "responds_as_recorded"),
    "operations of our own services, with every optional member": ("tests/test_no_silent_yes.py",),
    "refusals of CloudFormation": ("tests/test_cloudformation.py",),
    "refusals of rules, functions, topics, queues, buckets and roles": ("tests/test_strictness.py",),
    "calls that are not this user's": ("tests/test_closed.py",),
    "malformed calls": ("tests/test_malformed_calls.py",),
    "pages of another origin, in a browser": ("tests/test_web_pages.py",),
    "definitions that AWS's documentation and the SDK show": ("tests/test_checks.py", "-k", "nothing_wrong"),
    "definitions with one mistake": ("tests/test_checks.py", "-k", "one_mistake"),
}


def suite(arguments: tuple[str, ...]) -> ElementTree.Element:
    """Run a part of the test suite; return the testsuite element of pytest's JUnit XML report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["--quiet", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        return ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314 (pytest has just written it)


def count(arguments: tuple[str, ...]) -> tuple[int, int, int]:
    """Run a part of the test suite; return how many tests passed, failed and were skipped."""
    found = suite(arguments).attrib
    failed, skipped = int(found["failures"]) + int(found["errors"]), int(found["skipped"])
    return int(found["tests"]) - failed - skipped, failed, skipped


def main() -> int:
    rows = []
    for name, arguments in PARTS.items():
        rows.append((name, *count(arguments)))
        progress(f"  {name}: {rows[-1][1:]}")
    show(("what", "as AWS", "not as AWS", "skipped"), rows)
    return 1 if any(failed or not passed for _, passed, failed, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
