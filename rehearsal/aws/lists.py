"""Filters, sorting and paging, the same for every emulated list operation."""

import base64
import hashlib
import json
from typing import Any

from botocore.utils import parse_timestamp

# A filter on a time, and the members of a summary that may hold that time.
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
# What the names and statuses of summaries are called, by the member that lists them.
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
# By what and how a list is sorted unless the request says: the API reference of each. Of pipelines and their runs it does
# not say how; they come with the newest first.
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
    """A token that no list gave out for this request."""


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
    """Sort summaries as the request says, or as AWS sorts them without."""
    if key not in SORTING or (items and "ObjectiveStatus" in items[0]):  # a tuning job sorts its own
        return items
    subject, (by, direction) = SUBJECTS.get(key, ""), SORTING[key]
    by = parameters.get("SortBy", by)
    names = {"Name": f"{subject}Name", "Status": f"{subject}Status"}
    member = names.get(by, "StartTime" if by == "CreationTime" and key.startswith("PipelineExecution") else by)
    # Versioned model packages have no name of their own.
    return sorted(
        items,
        key=lambda item: item.get(member) or item[f"{subject}Arn"],
        reverse=parameters.get("SortOrder", direction) == "Descending",
    )


def page(items: list[dict[str, Any]], parameters: dict[str, Any], key: str) -> tuple[list[dict[str, Any]], str | None]:
    """Return the page that a request asks for, and the token of the next one. Raise BadToken for a foreign token."""
    subject = SUBJECTS.get(key, "")
    items = order([item for item in items if matches(item, parameters, subject)], parameters, key)
    rest = {name: value for name, value in parameters.items() if name not in (*TOKENS, *SIZES)}
    mark = hashlib.sha256(json.dumps([key, rest], sort_keys=True, default=str).encode()).hexdigest()[:32]
    start = start_of(next((parameters[name] for name in TOKENS if name in parameters), None), mark)
    end = start + next((parameters[name] for name in SIZES if name in parameters), 100)
    token = base64.urlsafe_b64encode(f"{mark}{end}".encode()).decode() if end < len(items) else None
    return items[start:end], token


def start_of(token: str | None, mark: str) -> int:
    """Return where the page of a token begins."""
    if token is None:
        return 0
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise BadToken(token) from error
    if not text.startswith(mark) or not text[32:].isdecimal():
        raise BadToken(token)
    return int(text[32:])
