"""`make audit`: every locked package has an allowed licence, and a failed lookup does not count as safe."""

import fnmatch
import json
from email.message import EmailMessage

import pytest
from conftest import make

from build import audit

PACKAGE = {"name": "pillow", "version": "1.0"}
FLAW = {"id": "PYSEC-2026-1", "fix_versions": ["1.1"]}


@pytest.fixture(scope="module")
def required() -> list[audit.Requirement]:
    return audit.requirements()


def metadata(*headers: tuple[str, str]) -> EmailMessage:
    message = EmailMessage()
    for name, value in headers:
        message.add_header(name, value)
    return message


def test_every_locked_package_has_a_licence_that_is_allowed(required):
    assert len(required) > 200
    assert [each for each in required if each.refused] == []


def test_every_file_of_requirements_is_read(required):
    assert {path.name for path in audit.LOCKED} == {
        "development.txt", "emulator.txt", "guard.txt", "lambda.txt", "lint.txt", "quality.txt", "requirements.txt",
        "tracking.txt", "uv.txt",
    }  # fmt: skip
    assert {file for each in required for file in each.files} == {
        str(path.relative_to(audit.ROOT)) for path in audit.LOCKED
    }


def test_what_a_person_read_is_still_required(required):
    unused = [pattern for pattern in audit.READ if not any(fnmatch.fnmatch(each.name, pattern) for each in required)]

    assert unused == []


@pytest.mark.parametrize(
    ("headers", "licence", "refused"),
    [
        ([("License-Expression", "MPL-2.0 AND (Apache-2.0 OR MIT)")], "MPL-2.0 AND (Apache-2.0 OR MIT)", False),
        ([("License-Expression", "AGPL-3.0-only")], "AGPL-3.0-only", True),
        ([("License-Expression", "MIT AND GPL-2.0-or-later")], "MIT AND GPL-2.0-or-later", True),
        ([("Classifier", "License :: OSI Approved :: MIT License")], "MIT", False),
        ([("Classifier", "Topic :: Text"), ("License", "BSD-3-Clause")], "BSD-3-Clause", False),
        ([("Classifier", "License :: OSI Approved :: GNU General Public License v3 (GPLv3)")],
         "GNU General Public License v3 (GPLv3)", True),
        ([("License", "")], "unknown", True),
        ([], "unknown", True),
    ],
)  # fmt: skip
def test_a_licence_is_read_and_judged(headers, licence, refused):
    found = audit.licence(metadata(*headers))

    assert found == licence
    assert audit.Requirement("some", "1", found, ("some.txt",)).refused is refused


def test_a_package_that_nobody_knows_is_refused_in_words(tmp_path, capsys):
    (tmp_path / "own.txt").write_text("nobody-knows-it==1.0 \\\n    --hash=sha256:00\n")

    assert not audit.report_licences(audit.requirements((tmp_path / "own.txt",)))
    assert (
        "refused: nobody-knows-it 1.0 is under 'unknown', which build/audit.py does not allow."
        in capsys.readouterr().out
    )


def test_a_vulnerability_is_told_with_its_fix():
    answer = json.dumps({"dependencies": [{**PACKAGE, "vulns": [FLAW]}]})

    assert audit.verdict(answer, "") == (1, ["pillow 1.0: PYSEC-2026-1, fixed in 1.1"], "")


def test_what_the_service_does_not_know_is_not_harmless():
    answer = json.dumps({"dependencies": [{"name": "pillow", "skip_reason": "not found"}]})

    assert audit.verdict(answer, "No known vulnerabilities found") == (0, [], "not found")


def test_without_the_service_it_says_so_and_is_no_failure():
    done = make("audit", HTTPS_PROXY="http://127.0.0.1:9")

    assert done.returncode == 0, done.stdout
    assert "vulnerabilities: not looked up, the service does not answer here: " in done.stdout
    assert "licences: 0 refused of " in done.stdout


def test_a_vulnerability_is_a_failure(capsys):
    assert not audit.report_vulnerabilities([(3, [], ""), (1, ["pillow 1.0: PYSEC-2026-1, fixed in 1.1"], "")])
    assert capsys.readouterr().out == (
        "vulnerabilities: 1 known of 4 packages\nvulnerable: pillow 1.0: PYSEC-2026-1, fixed in 1.1\n"
    )


def test_what_was_not_looked_up_is_said(capsys):
    assert audit.report_vulnerabilities([(3, [], ""), (0, [], "not found")])
    assert capsys.readouterr().out == "vulnerabilities: 0 known of 3 packages; not all looked up: not found\n"
