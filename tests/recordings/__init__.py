"""Recorded responses of real AWS, held against the emulated AWS.

A module for each service has a function for each recording, which makes calls of our own and returns their responses
by the names that the recording gives them. What may differ has its reason in the module's ACCEPTED.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from rehearsal.server import ACCOUNT, REGION, PlayedAws

FOLDER = Path(__file__).parent.parent.parent.parent / "shared/recordings"
MISSING = "(missing)"
Responses = dict[str, Any]
Replay = Callable[[PlayedAws], Responses]
REPLAYS: dict[str, Replay] = {}  # key of a recording -> the function that makes its calls

SENDERS = [f"{service}.amazonaws.com" for service in ("cloudwatch", "events", "s3", "sns")]

# Words that stand for a value of one run: AWS's own names in kebab case, put there when the responses were recorded.
_WORDS = {
    "amz-id", "amz-request-id", "date", "datetime", "m-d5-of-body", "message-id", "object-sequencer", "receipt-handle",
    "request-id", "sequencer", "signature", "signing-cert-u-r-l", "timestamp", "topic-arn", "unsubscribe-u-r-l", "version-id",
}  # fmt: skip
_DATE = r"\(MM/DD/YY HH:MM:SS\)|(?<![\w-])date(?![\w-])|(?<=\")message-id(?=\")"
_PLACEHOLDER = re.compile(rf"<[\w-]+(?::\d+)?>|{_DATE}")


def replays(*recordings: str) -> Callable[[Replay], Replay]:
    """Register a function for recordings, named "<file>::<test>" without the folders and ".snapshot.json"."""

    def register(replay: Replay) -> Replay:
        REPLAYS.update(dict.fromkeys(recordings, replay))
        return replay

    return register


def recorded(service: str) -> dict[str, Responses]:
    """Return the responses of a service's recordings by their short keys."""
    recordings = json.loads((FOLDER / f"{service}.json").read_text())
    return {short(key): recording["recorded-content"] for key, recording in recordings.items()}


def short(key: str) -> str:
    """Return the key of a recording without its folders: those may hold a bracket or a slash only after the "::"."""
    file, _, test = key.partition("::")
    return f"{file.rsplit('/', 1)[-1].removesuffix('.snapshot.json')}::{test}"


def refusal(call: Callable[..., Any], **parameters: Any) -> dict[str, Any]:
    """Return the response of a call that must be refused."""
    try:
        response = call(**parameters)
    except ClientError as error:
        return error.response
    return {"accepted": response}


def unique(name: str) -> str:
    """Return a name that no other replay uses."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def create_queue(aws: PlayedAws, **attributes: str) -> tuple[str, str]:
    """Create a queue that every service may send to; return its address and its ARN."""
    sqs, name = aws.client("sqs"), unique("recorded")
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
    statement = {"Effect": "Allow", "Principal": {"Service": SENDERS}, "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return sqs.create_queue(QueueName=name, Attributes={"Policy": policy} | attributes)["QueueUrl"], arn


def receive(aws: PlayedAws, queue: str, count: int, seconds: int = 10, **options: Any) -> list[dict[str, Any]]:
    """Return `count` messages of a queue and delete them; fewer when no more arrive in time."""
    sqs, messages = aws.client("sqs"), []
    while len(messages) < count:
        response = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=seconds, **options)
        if not response.get("Messages"):
            break
        messages += response["Messages"]
        for message in response["Messages"]:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return messages


class Comparison:
    """Compares responses with a recording; a numbered placeholder stands for one value throughout."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def differences(self, expected: Any, actual: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
        """Yield path, recorded and emulated value of each difference."""
        if isinstance(expected, dict | list) and isinstance(actual, str):
            actual = _parsed(actual)
        if path.endswith("ResponseMetadata") and MISSING not in (expected, actual):
            expected, actual = ({"HTTPStatusCode": each["HTTPStatusCode"]} for each in (expected, actual))
        if isinstance(expected, dict) and isinstance(actual, dict):
            for name in sorted(expected.keys() | actual.keys()):
                where = f"{path}.{name}" if path else name
                yield from self.differences(expected.get(name, MISSING), actual.get(name, MISSING), where)
        elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
            for index, pair in enumerate(zip(expected, actual, strict=True)):
                yield from self.differences(*pair, f"{path}.{index}")
        elif not self.equal(expected, actual):
            yield path, expected, actual

    def equal(self, expected: Any, actual: Any) -> bool:
        """Return whether a value is the recorded one, or may stand for its placeholder."""
        if actual == MISSING or expected == MISSING or not isinstance(expected, str):
            return type(expected) is type(actual) and expected == actual
        if expected in _WORDS:
            return actual not in ("", None, [], {})
        return self._fits(expected.replace("111111111111", ACCOUNT), str(actual))

    def _fits(self, expected: str, actual: str) -> bool:
        names = _PLACEHOLDER.findall(expected)
        literals = [re.escape(part) for part in _PLACEHOLDER.split(expected)]
        match = re.fullmatch("(.+?)".join(literals), actual, re.DOTALL)
        pairs = zip(names, match.groups(), strict=True) if match else []
        return match is not None and all(
            self.values.setdefault(name, value) == value for name, value in pairs if re.search(r":\d+>$", name)
        )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
