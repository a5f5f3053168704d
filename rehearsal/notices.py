"""Read what an SNS topic publishes, through an SQS queue in place of a person's mailbox."""

import json
from typing import Any

from rehearsal.server import ACCOUNT, REGION, Emulator


class Mailbox:
    """A queue that is subscribed to a topic when it is created."""

    def __init__(self, emulator: Emulator, topic: str, name: str):
        self.sqs = emulator.client("sqs")
        self.queue = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]}
        self.sqs.set_queue_attributes(QueueUrl=self.queue, Attributes={"Policy": json.dumps(policy)})
        emulator.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    def read(self, wait_seconds: int = 1) -> list[dict[str, Any]]:
        """Wait up to `wait_seconds` and return at most 10 notices, each with Subject and Message."""
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait_seconds)
        return [json.loads(message["Body"]) for message in found.get("Messages", [])]
