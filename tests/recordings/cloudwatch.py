"""CloudWatch: alarms, their notifications, and the metrics of a queue."""

import datetime
import json
from typing import Any

from recordings import Responses, create_queue, receive, replays, unique
from rehearsal.server import ACCOUNT, REGION, Emulator

ACCEPTED: dict[str, dict[str, str]] = {}
NOT_REPLAYED: dict[str, str] = {}
TEST = "test_cloudwatch::TestCloudwatch::test"


def metric_data(aws: Emulator, queue: str, metrics: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Return GetMetricData's response for a queue; `metrics` is {query id: (metric, statistic)}."""
    now = datetime.datetime.now(datetime.UTC)
    queries = []
    for name, (metric, statistic) in metrics.items():
        dimensions = [{"Name": "QueueName", "Value": queue}]
        named = {"Namespace": "AWS/SQS", "MetricName": metric, "Dimensions": dimensions}
        queries.append({"Id": name, "MetricStat": {"Metric": named, "Period": 60, "Stat": statistic}})
    hour = datetime.timedelta(hours=1)
    return aws.client("cloudwatch").get_metric_data(MetricDataQueries=queries, StartTime=now - hour, EndTime=now + hour)


@replays(f"{TEST}_aws_sqs_metrics_created")
def metrics_of_a_queue(aws: Emulator) -> Responses:
    sqs, (url, arn) = aws.client("sqs"), create_queue(aws)
    sqs.receive_message(QueueUrl=url)
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    name = arn.rsplit(":", 1)[-1]
    sent = {
        "sent": ("NumberOfMessagesSent", "Sum"),
        "sent_size": ("SentMessageSize", "Sum"),
        "empty_receives": ("NumberOfEmptyReceives", "Sum"),
    }
    first = metric_data(aws, name, sent)
    receive(aws, url, 1)
    received = {
        "num_msg_received": ("NumberOfMessagesReceived", "Sum"),
        "num_msg_deleted": ("NumberOfMessagesDeleted", "Sum"),
    }
    return {"get_metric_data": first, "get_metric_data_2": metric_data(aws, name, received)}


@replays(f"{TEST}_put_metric_alarm")
def alarm_of_a_metric(aws: Emulator) -> Responses:
    cloudwatch, sns, (url, queue) = aws.client("cloudwatch"), aws.client("sns"), create_queue(aws)
    topic, name, namespace = sns.create_topic(Name=unique("recorded"))["TopicArn"], unique("alarm"), unique("space")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    dimensions = [{"Name": "InstanceId", "Value": "abc"}]
    metric: dict[str, Any] = {"Namespace": namespace, "MetricName": "my-metric1"}
    alarm = {"AlarmName": name, "AlarmDescription": "testing cloudwatch alarms", "Period": 10, "EvaluationPeriods": 1,
             "Statistic": "Average", "Threshold": 21, "ComparisonOperator": "GreaterThanThreshold", "Unit": "Seconds",
             "TreatMissingData": "ignore", "AlarmActions": [topic], "OKActions": [topic]}  # fmt: skip
    cloudwatch.put_metric_alarm(**metric, **alarm, Dimensions=dimensions, ActionsEnabled=True)
    described = cloudwatch.describe_alarms(AlarmNames=[name])
    point = {"MetricName": "my-metric1", "Dimensions": dimensions, "Values": [21.0, 22.0], "Unit": "Seconds"}
    cloudwatch.put_metric_data(
        Namespace=namespace, MetricData=[{**point, "Timestamp": datetime.datetime.now(datetime.UTC)}]
    )
    messages = receive(aws, url, 1, 20)
    history = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")
    for_metric = cloudwatch.describe_alarms_for_metric(
        **metric, Dimensions=dimensions, Statistic="Average", Period=10, Unit="Seconds"
    )
    return {
        "describe-alarm": described,
        "alarm-triggered-sqs-msg": json.loads(json.loads(messages[0]["Body"])["Message"]) if messages else "none",
        "describe-alarm-history": history,
        "describe-alarms-for-metric": for_metric,
    }


@replays(
    *(f"{TEST}_put_metric_alarm_escape_character[{protocol}]" for protocol in ("json", "query", "smithy-rpc-v2-cbor"))
)
def characters_of_markup(aws: Emulator) -> Responses:
    """Replay all three recordings alike: they differ in the wire protocol, which boto3 chooses."""
    cloudwatch, name = aws.client("cloudwatch"), unique("alarm")
    cloudwatch.put_metric_alarm(
        AlarmName=name, AlarmDescription="<", MetricName="metric", Namespace="space", Period=600, Statistic="Sum",
        EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[f"arn:aws:sns:{REGION}:{ACCOUNT}:MyTopic"],
    )  # fmt: skip
    return {"describe-alarms-escaped-character": cloudwatch.describe_alarms(AlarmNames=[name])}
