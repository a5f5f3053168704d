"""Validate templates with AWS's own validator and the rules of the AWS Guard Rules Registry.

    .venv/lint/bin/python -m build.validation templates/project.yaml

prints the findings, one line each, and exits with status 1 if there are any. A resource's Metadata can exclude rules.
"""

import re
import sys
from collections.abc import Iterator
from importlib.resources import files

# Rules of the registry that do not apply to these templates.
NOT_OURS = {
    "IAM_NO_INLINE_POLICY_CHECK": "a role's policies are its own, and go when it goes",
    "IAM_POLICYDOCUMENT_NO_WILDCARD_RESOURCE": "each star has its reason above it: tests/test_templates.py",
}
# Findings about the empty default of an optional parameter. Its use depends on a condition, which the validator does
# not evaluate; cfn-lint does, and has the same rules.
EMPTY_DEFAULT = re.compile("'' (does not match|has length 0)")


def findings(paths: list[str], excluded: list[str]) -> Iterator[str]:
    """Yield warnings and errors, and a line for a template that could not be validated.

    Lower severities only report which changes replace a resource, and resources without tags.
    """
    from cloudformation_validate import (  # only .venv/lint has it
        CompositeEngine,
        CompositeEngineConfig,
        ExternalRuleSource,
        ReportStatus,
        RuleFilterConfig,
        Severity,
        ValidateConfig,
    )

    registry = files("awslabs").joinpath("aws_iac_mcp_server/data/default_guard_rules.guard").read_text()
    engine = CompositeEngine(CompositeEngineConfig(guard_rules=[ExternalRuleSource(name="registry", content=registry)]))
    config = ValidateConfig(exclude=RuleFilterConfig(ids=excluded), severity_level=Severity.WARN)
    for path in paths:
        report = engine.validate_template(path, config)
        if report.status != ReportStatus.OK:
            yield f"{path}: {report.status.name}"
        for found in report.diagnostics:
            if EMPTY_DEFAULT.search(found.message):
                continue
            where = found.entity.logical_id if found.entity else ""
            yield f"{path}:{found.start_line}: {found.rule_id} {where} {' '.join(found.message.split())}"


if __name__ == "__main__":
    found = list(findings(sys.argv[1:], list(NOT_OURS)))
    print("\n".join(found))
    sys.exit(bool(found))
