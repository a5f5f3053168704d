"""CloudWatch Logs: write the logs of builds, jobs, pipelines and endpoints."""

import time
from collections.abc import Iterable

from ministack.core.responses import request_scope
from ministack.services import cloudwatch_logs

from rehearsal.aws.adapter.running import ACCOUNT, REGION


def write_log(group: str, stream: str, lines: Iterable[str]) -> None:
    """Append lines to a log stream; create the group and the stream on first use, as AWS services do."""
    now = int(time.time() * 1000)
    with request_scope(ACCOUNT, REGION):
        streams = cloudwatch_logs._log_groups.setdefault(
            group,
            {
                "arn": cloudwatch_logs._make_group_arn(group),
                "creationTime": now,
                "retentionInDays": None,
                "tags": {},
                "subscriptionFilters": {},
                "streams": {},
            },
        )["streams"]
        record = streams.setdefault(
            stream,
            {
                "events": [],
                "uploadSequenceToken": "1",
                "creationTime": now,
                "firstEventTimestamp": None,
                "lastEventTimestamp": None,
                "lastIngestionTime": None,
            },
        )
        events = [{"timestamp": now, "message": line, "ingestionTime": now} for line in lines]
        cloudwatch_logs._append_log_events(record, events)
