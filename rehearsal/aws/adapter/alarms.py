"""CloudWatch: metrics of SQS queues, and alarms that evaluate them and publish to the topics whose policies allow it.

docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html. ministack ignores dimensions, missing
data, DatapointsToAlarm and topic policies. Responses and messages are as recorded from AWS.
"""

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ministack.services import cloudwatch, sns, sqs

from rehearsal.aws.adapter.policies import service_may
from rehearsal.aws.adapter.running import ACCOUNT, every

logger = logging.getLogger("rehearsal")
Alarm = dict[str, Any]

# ComparisonOperator -> its wording in AWS's state reasons, and the comparison.
_OPERATORS = {
    "GreaterThanThreshold": ("greater than", lambda value, threshold: value > threshold),
    "GreaterThanOrEqualToThreshold": ("greater than or equal to", lambda value, threshold: value >= threshold),
    "LessThanThreshold": ("less than", lambda value, threshold: value < threshold),
    "LessThanOrEqualToThreshold": ("less than or equal to", lambda value, threshold: value <= threshold),
}
_ACTIONS = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}


# --- metrics of queues -----------------------------------------------------------------------------------------------
# docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html

SECONDS_BETWEEN_DEPTHS = 50  # shorter than the shortest period of a queue's metrics, so that each has a datapoint
_depths: dict[str, tuple[int, float]] = {}  # queue name -> visible messages and time of the last record


def _record(queue: str, metric: str, value: float, unit: str = "Count") -> None:
    cloudwatch.record_metric("AWS/SQS", metric, value, unit, {"QueueName": queue})


def _record_depths() -> None:
    """Record each queue's visible messages when their number changes, and at least every SECONDS_BETWEEN_DEPTHS."""
    for queue in list(sqs._queues.values()):
        sqs._refresh_counts(queue)
        visible = int(queue["attributes"]["ApproximateNumberOfMessages"])
        before, recorded_at = _depths.get(queue["name"], (0, 0.0))
        if visible != before or time.time() - recorded_at > SECONDS_BETWEEN_DEPTHS:
            _depths[queue["name"]] = visible, time.time()
            _record(queue["name"], "ApproximateNumberOfMessagesVisible", visible)


async def _dispatch(action: str, data: dict[str, Any], address: str) -> dict[str, Any]:
    """Handle an SQS request, and record the metrics of the messages that it sends, receives or deletes."""
    result = await _original_dispatch(action, data, address)
    queue = (data.get("QueueUrl") or address).rsplit("/", 1)[-1]
    if action == "SendMessage":
        _record(queue, "NumberOfMessagesSent", 1)
        _record(queue, "SentMessageSize", len(data["MessageBody"].encode()), "Bytes")
    elif action == "ReceiveMessage":
        messages = len(result.get("Messages", []))
        _record(queue, "NumberOfMessagesReceived" if messages else "NumberOfEmptyReceives", messages or 1)
    elif action == "DeleteMessage":
        _record(queue, "NumberOfMessagesDeleted", 1)
    return result


_original_dispatch = sqs._dispatch
sqs._dispatch = _dispatch


# --- states of alarms ------------------------------------------------------------------------------------------------


def _datapoints(alarm: Alarm) -> list[tuple[float, float, float] | None]:
    """Return (start, value, sample count) of each period that an alarm evaluates, newest first; None without data.

    Starts are in seconds since 1970.
    """
    dimensions = cloudwatch._dims_key({each["Name"]: each["Value"] for each in alarm.get("Dimensions") or []})
    points = cloudwatch._metrics.get((alarm["Namespace"], alarm["MetricName"], dimensions)) or []
    period, now = alarm.get("Period", 60), time.time()
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    datapoints: list[tuple[float, float, float] | None] = []
    for number in range(alarm.get("EvaluationPeriods", 1)):
        start = now - period * (number + 1)
        inside = [point for point in points if start < point["Timestamp"] <= start + period]
        statistics = cloudwatch._calc_stats(inside)
        value = cloudwatch._stat_value(statistics, statistic, inside) if inside else None
        datapoints.append(None if value is None else (start, float(value), statistics["SampleCount"]))
    return datapoints


def _evaluate_alarm(alarm: Alarm) -> None:
    """Set an alarm to the state that its metric's datapoints call for."""
    if not alarm.get("Namespace") or not alarm.get("MetricName"):
        return
    datapoints = _datapoints(alarm)
    present = [datapoint for datapoint in datapoints if datapoint]
    missing, needed = alarm.get("TreatMissingData", "missing"), alarm.get("DatapointsToAlarm") or len(datapoints)
    words, compare = _OPERATORS[alarm["ComparisonOperator"]]
    breaching = [datapoint for datapoint in present if compare(datapoint[1], alarm["Threshold"])]
    # If every period is without data, "ignore" keeps the state and "missing" sets INSUFFICIENT_DATA. Otherwise a period
    # without data counts as breaching only if TreatMissingData is "breaching".
    if not present and missing in ("ignore", "missing"):
        if missing == "missing" and alarm["StateValue"] != "INSUFFICIENT_DATA":
            _move(alarm, "INSUFFICIENT_DATA", "Insufficient Data: no datapoints were received.", [])
        return
    absent = len(datapoints) - len(present)
    raised = len(breaching) + (absent if missing == "breaching" else 0) >= needed
    if ("ALARM" if raised else "OK") != alarm["StateValue"]:
        _move(alarm, "ALARM" if raised else "OK", _reason(alarm, present, words, raised=raised), present)


def _reason(alarm: Alarm, present: list[tuple[float, float, float]], words: str, *, raised: bool) -> str:
    if not present:
        number = alarm.get("EvaluationPeriods", 1)
        treated = alarm["TreatMissingData"][:1].upper() + alarm["TreatMissingData"][1:]
        return f"Threshold Crossed: no datapoints were received for {number} period(s), treated as [{treated}]."
    values = ", ".join(
        f"{value} ({datetime.fromtimestamp(start, UTC):%d/%m/%y %H:%M:%S})" for start, value, _ in present
    )
    one = len(present) == 1
    points, verb = ("1 datapoint", "was") if one else (f"{len(present)} datapoints", "were")
    return (
        f"Threshold Crossed: {points} [{values}] {verb}{'' if raised else ' not'} {words} "
        f"the threshold ({float(alarm['Threshold'])})."
    )


def _move(alarm: Alarm, state: str, reason: str, present: list[tuple[float, float, float]]) -> None:
    """Set an alarm's state, record it in the history, run its actions, and evaluate the composite alarms above it."""
    data: dict[str, Any] = {
        "version": "1.0",
        "queryDate": _iso(time.time()),
        "startDate": _iso(present[-1][0] if present else time.time()),
        "statistic": alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average"),
        "period": alarm.get("Period", 60),
        "recentDatapoints": [value for _, value, _ in present],
        "threshold": float(alarm["Threshold"]),
        "evaluatedDatapoints": [
            {"timestamp": _iso(start), "sampleCount": samples, "value": value} for start, value, samples in present
        ],
    }
    data |= {"unit": alarm["Unit"]} if alarm.get("Unit") else {}
    old = {"stateValue": alarm["StateValue"], "stateReason": alarm["StateReason"]}
    now = int(time.time())
    alarm |= {"StateValue": state, "StateReason": reason, "StateReasonData": json.dumps(data)}
    alarm |= {"StateUpdatedTimestamp": now, "StateTransitionedTimestamp": now}
    new = {"stateValue": state, "stateReason": reason, "stateReasonData": data}
    history = {
        "AlarmName": alarm["AlarmName"],
        "AlarmType": "MetricAlarm",
        "Timestamp": cloudwatch._ts_iso(now),
        "HistoryItemType": "StateUpdate",
        "HistorySummary": f"Alarm updated from {old['stateValue']} to {state}",
        "HistoryData": json.dumps({"version": "1.0", "oldState": old, "newState": new}),
    }
    cloudwatch._history_entries().append(history)
    cloudwatch._dispatch_alarm_actions(alarm, old["stateValue"], state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _iso(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.000+0000"


# --- notifications of alarms -----------------------------------------------------------------------------------------


def _dispatch_alarm_actions(alarm: Alarm, old_state: str, new_state: str, reason: str) -> None:
    """Publish a state change to those of an alarm's topics whose policies let CloudWatch publish.

    docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
    """
    topics = alarm.get(_ACTIONS[new_state]) or [] if alarm.get("ActionsEnabled", True) else []
    for topic in topics:
        record = sns._topics.get(topic)
        policy = (record or {}).get("attributes", {}).get("Policy")
        if not service_may("cloudwatch.amazonaws.com", "sns:Publish", topic, policy, alarm["AlarmArn"]):
            logger.warning("alarm %s may not publish to %s", alarm["AlarmName"], topic)
            continue
        message = json.dumps(_message(alarm, old_state, new_state, reason))
        sns.publish_internal(topic, message, f'{new_state}: "{alarm["AlarmName"]}" in US East (N. Virginia)'[:100])


def _message(alarm: Alarm, old_state: str, new_state: str, reason: str) -> dict[str, Any]:
    trigger = {
        "MetricName": alarm.get("MetricName", ""),
        "Namespace": alarm.get("Namespace", ""),
        "StatisticType": "Statistic",
        "Statistic": alarm.get("Statistic", "").upper(),
        "Unit": alarm.get("Unit"),
        "Dimensions": [{"value": each["Value"], "name": each["Name"]} for each in alarm.get("Dimensions") or []],
        "Period": alarm.get("Period", 60),
        "EvaluationPeriods": alarm.get("EvaluationPeriods", 1),
        "ComparisonOperator": alarm.get("ComparisonOperator", ""),
        "Threshold": alarm.get("Threshold", 0),
        "TreatMissingData": alarm.get("TreatMissingData", ""),
        "EvaluateLowSampleCountPercentile": "",
    }
    return {
        "AlarmName": alarm["AlarmName"],
        "AlarmDescription": alarm.get("AlarmDescription", ""),
        "AWSAccountId": ACCOUNT,
        "AlarmConfigurationUpdatedTimestamp": _iso(alarm.get("AlarmConfigurationUpdatedTimestamp", time.time())),
        "NewStateValue": new_state,
        "NewStateReason": reason,
        "StateChangeTime": _iso(time.time()),
        "Region": "US East (N. Virginia)",
        "AlarmArn": alarm["AlarmArn"],
        "OldStateValue": old_state,
        "ActionExecutedAfterMuteWindow": False,
        "OKActions": alarm.get("OKActions") or [],
        "AlarmActions": alarm.get("AlarmActions") or [],
        "InsufficientDataActions": alarm.get("InsufficientDataActions") or [],
        "Trigger": trigger,
    }


# --- requests and responses ------------------------------------------------------------------------------------------


def _put_metric_alarm(params: dict[str, Any], decoded: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
    """Create or update an alarm: keep the members that ministack drops, and drop its TreatMissingData default.

    Return a ValidationError for a ComparisonOperator that is not emulated.
    """
    request = decoded if is_cbor or is_json else params
    operator = cloudwatch._p(request, "ComparisonOperator")
    if operator not in _OPERATORS:
        message = f"The emulator has no ComparisonOperator {operator!r}. It has: {', '.join(_OPERATORS)}."
        return cloudwatch._error("ValidationError", message, 400, use_json=is_json, use_cbor=is_cbor)
    response = _original_put(params, decoded, is_cbor, is_json)
    if response[0] == 200:
        alarm = cloudwatch._alarms[cloudwatch._p(request, "AlarmName")]
        alarm.setdefault("StateTransitionedTimestamp", alarm["StateUpdatedTimestamp"])
        alarm["InsufficientDataActions"] = request.get("InsufficientDataActions") or []
        if "TreatMissingData" not in request:
            alarm.pop("TreatMissingData", None)
    return response


def _record_history(name: str, old_state: str, new_state: str, *more: Any, **named: Any) -> None:
    """Record a state change, unless the state is the same: ministack also records the creation of an alarm."""
    if old_state != new_state:
        _original_record_history(name, old_state, new_state, *more, **named)


def _get_metric_data(params: dict[str, Any], decoded: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
    """Return metric data; a metric without a label in the request gets its name as label."""
    for query in decoded.get("MetricDataQueries", []) if is_cbor or is_json else []:
        query.setdefault("Label", query.get("MetricStat", {}).get("Metric", {}).get("MetricName", query["Id"]))
    return _original_get_metric_data(params, decoded, is_cbor, is_json)


def _with_messages(respond: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Wrap a function that returns a response: add the empty list of messages that AWS has in metric data."""
    return lambda data: respond({"Messages": []} | data if "MetricDataResults" in data else data)


def _evaluate() -> None:
    _record_depths()
    cloudwatch._evaluate_all_alarms()


_original_put, _original_record_history = cloudwatch._put_metric_alarm, cloudwatch._record_history
cloudwatch._put_metric_alarm, cloudwatch._record_history = _put_metric_alarm, _record_history
cloudwatch._evaluate_alarm, cloudwatch._dispatch_alarm_actions = _evaluate_alarm, _dispatch_alarm_actions
_original_get_metric_data = cloudwatch._get_metric_data
cloudwatch._get_metric_data = _get_metric_data
cloudwatch._cbor_ok, cloudwatch._json_ok = _with_messages(cloudwatch._cbor_ok), _with_messages(cloudwatch._json_ok)
every(1, _evaluate)
