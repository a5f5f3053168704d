"""Filters, sorting and paging, the same for every emulated list operation."""

import base64
import hashlib
import json
from typing import Any

from botocore.utils import parse_timestamp

# Filter on a time -> members of a summary that may hold that time; the first that is present counts.
AFTER = {
    "CreationTimeAfter": ("CreationTime",),
    "CreatedAfter": ("StartTime", "CreationTime"),
    "LastModifiedTimeAfter": ("LastModifiedTime",),
}
BEFORE = {
    "CreationTimeBefore": ("CreationTime",),
    "CreatedBefore": ("StartTime", "CreationTime"),
    "LastModifiedTimeBefore": ("LastModifiedTime",),
}
# List member of a response -> prefix of its summaries' members (TrainingJob: TrainingJobName, TrainingJobStatus, ...).
SUBJECTS = {
    "EndpointConfigs": "EndpointConfig",
    "Endpoints": "Endpoint",
    "HyperParameterTuningJobSummaries": "HyperParameterTuningJob",
    "ModelPackageGroupSummaryList": "ModelPackageGroup",
    "ModelPackageSummaryList": "ModelPackage",
    "Models": "Model",
    "PipelineExecutionSummaries": "PipelineExecution",
    "PipelineSummaries": "Pipeline",
    "ProcessingJobSummaries": "ProcessingJob",
    "ProjectSummaryList": "Project",
    "TrainingJobSummaries": "TrainingJob",
}
# List -> default SortBy and SortOrder, from the API reference. It gives none for pipelines and their executions: the
# newest come first.
NEWEST, OLDEST = ("CreationTime", "Descending"), ("CreationTime", "Ascending")
SORTING = {
    "EndpointConfigs": NEWEST,
    "Endpoints": NEWEST,
    "HyperParameterTuningJobSummaries": ("Name", "Ascending"),
    "ModelPackageGroupSummaryList": OLDEST,
    "ModelPackageSummaryList": OLDEST,
    "Models": NEWEST,
    "PipelineExecutionSteps": NEWEST,
    "PipelineExecutionSummaries": NEWEST,
    "PipelineSummaries": NEWEST,
    "ProcessingJobSummaries": OLDEST,
    "ProjectSummaryList": OLDEST,
    "TrainingJobSummaries": OLDEST,
}
TOKENS = ("NextToken", "PageToken", "nextToken")
SIZES = ("MaxResults", "PageSize")


class BadToken(ValueError):
    """A pagination token that was not issued for this request."""


def matches(item: dict[str, Any], parameters: dict[str, Any], subject: str) -> bool:
    """Return whether a summary passes the request's filters."""
    for filters, sign in ((AFTER, 1), (BEFORE, -1)):
        for member in filters.keys() & parameters.keys():
            moment = next(item[name] for name in filters[member] if name in item)
            if sign * (moment - parse_timestamp(parameters[member])).total_seconds() <= 0:
                return False
    name, status = item.get(f"{subject}Name", ""), item.get(f"{subject}Status")
    return (
        parameters.get("NameContains", "") in name
        and name.startswith(parameters.get("PipelineNamePrefix", ""))
        and parameters.get("StatusEquals", status) == status
    )


def order(items: list[dict[str, Any]], parameters: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return summaries sorted as the request asks, or else in AWS's default order."""
    if key not in SORTING or (items and "ObjectiveStatus" in items[0]):  # tuning.py sorts these itself
        return items
    subject, (by, direction) = SUBJECTS.get(key, ""), SORTING[key]
    by = parameters.get("SortBy", by)
    names = {"Name": f"{subject}Name", "Status": f"{subject}Status"}
    member = names.get(by, "StartTime" if by == "CreationTime" and key.startswith("PipelineExecution") else by)
    # Versioned model packages have no name of their own: sort them by ARN.
    return sorted(
        items,
        key=lambda item: item.get(member) or item[f"{subject}Arn"],
        reverse=parameters.get("SortOrder", direction) == "Descending",
    )


def page(items: list[dict[str, Any]], parameters: dict[str, Any], key: str) -> tuple[list[dict[str, Any]], str | None]:
    """Return the page that a request asks for and the next token, if any. Raise BadToken for a foreign token."""
    subject = SUBJECTS.get(key, "")
    items = order([item for item in items if matches(item, parameters, subject)], parameters, key)
    # A token is a hash of the list and the request's other parameters, then an offset: it fits no other request.
    rest = {name: value for name, value in parameters.items() if name not in (*TOKENS, *SIZES)}
    mark = hashlib.sha256(json.dumps([key, rest], sort_keys=True, default=str).encode()).hexdigest()[:32]
    start = start_of(next((parameters[name] for name in TOKENS if name in parameters), None), mark)
    end = start + next((parameters[name] for name in SIZES if name in parameters), 100)
    token = base64.urlsafe_b64encode(f"{mark}{end}".encode()).decode() if end < len(items) else None
    return items[start:end], token


def start_of(token: str | None, mark: str) -> int:
    """Return the offset at which a token's page begins. Raise BadToken if it was not issued for `mark`."""
    if token is None:
        return 0
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise BadToken(token) from error
    if not text.startswith(mark) or not text[32:].isdecimal():
        raise BadToken(token)
    return int(text[32:])
