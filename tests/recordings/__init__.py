"""Compare the emulator with recorded responses of the real AWS.

The module of each service has a function for each recording, which makes equivalent calls and returns the responses
under the names that the recording uses. A module's ACCEPTED gives a reason for each difference that is allowed.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from rehearsal.server import ACCOUNT, REGION, Emulator

FOLDER = Path(__file__).parent.parent.parent.parent / "shared/recordings"
MISSING = "(missing)"
Responses = dict[str, Any]
Replay = Callable[[Emulator], Responses]
REPLAYS: dict[str, Replay] = {}  # key of a recording -> the function that replays it

SENDERS = [f"{service}.amazonaws.com" for service in ("cloudwatch", "events", "s3", "sns")]

# Placeholders without brackets, which the recorder derived from AWS's names: RequestId -> request-id. Each stands for
# a value that differs from run to run.
_WORDS = {
    "amz-id", "amz-request-id", "date", "datetime", "m-d5-of-body", "message-id", "object-sequencer", "receipt-handle",
    "request-id", "sequencer", "signature", "signing-cert-u-r-l", "timestamp", "topic-arn", "unsubscribe-u-r-l", "version-id",
}  # fmt: skip
_DATE = r"\(MM/DD/YY HH:MM:SS\)|(?<![\w-])date(?![\w-])|(?<=\")message-id(?=\")"
_PLACEHOLDER = re.compile(rf"<[\w-]+(?::\d+)?>|{_DATE}")


def replays(*recordings: str) -> Callable[[Replay], Replay]:
    """Register the decorated function as the replay of recordings.

    Their names are "<file>::<test>", without folders and ".snapshot.json".
    """

    def register(replay: Replay) -> Replay:
        REPLAYS.update(dict.fromkeys(recordings, replay))
        return replay

    return register


def recorded(service: str) -> dict[str, Responses]:
    """Return a service's recordings: {short key: responses}."""
    recordings = json.loads((FOLDER / f"{service}.json").read_text())
    return {short(key): recording["recorded-content"] for key, recording in recordings.items()}


def short(key: str) -> str:
    """Return the key of a recording without folders and ".snapshot.json"; a slash after the "::" is kept."""
    file, _, test = key.partition("::")
    return f"{file.rsplit('/', 1)[-1].removesuffix('.snapshot.json')}::{test}"


def refusal(call: Callable[..., Any], **parameters: Any) -> dict[str, Any]:
    """Return the error response of a call that AWS refuses; if it is accepted, {"accepted": response}."""
    try:
        response = call(**parameters)
    except ClientError as error:
        return error.response
    return {"accepted": response}


def unique(name: str) -> str:
    """Return a name that no other replay uses."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def create_queue(aws: Emulator, **attributes: str) -> tuple[str, str]:
    """Create a queue that every service in SENDERS may send to; return its URL and its ARN."""
    sqs, name = aws.client("sqs"), unique("recorded")
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
    statement = {"Effect": "Allow", "Principal": {"Service": SENDERS}, "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return sqs.create_queue(QueueName=name, Attributes={"Policy": policy} | attributes)["QueueUrl"], arn


def receive(aws: Emulator, queue: str, count: int, seconds: int = 10, **options: Any) -> list[dict[str, Any]]:
    """Receive and delete messages until there are at least `count`, or none arrives for `seconds`; return them."""
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
    """Comparison of responses with a recording.

    A numbered placeholder, as in "<uuid:1>", stands for the same value in all responses of a recording.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def differences(self, expected: Any, actual: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
        """Yield (path, recorded value, emulated value) for each difference.

        Strings of JSON are parsed where the recording has an object or a list. Of ResponseMetadata only the HTTP
        status is compared.
        """
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
        """Return whether a value equals the recorded one or fits its placeholders."""
        if actual == MISSING or expected == MISSING or not isinstance(expected, str):
            return type(expected) is type(actual) and expected == actual
        if expected in _WORDS:
            return actual not in ("", None, [], {})
        return self._fits(expected.replace("111111111111", ACCOUNT), str(actual))

    def _fits(self, expected: str, actual: str) -> bool:
        # Turn the recorded text into a pattern in which each placeholder is a group: "a-<id:1>" -> "a-(.+?)".
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
