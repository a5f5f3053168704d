"""SQS: dead-letter queues."""

import json

from recordings import Responses, create_queue, receive, refusal, replays, unique
from rehearsal.server import ACCOUNT, REGION, Emulator

ACCEPTED: dict[str, dict[str, str]] = {}
NOT_REPLAYED: dict[str, str] = {}
TEST = "test_sqs::TestSqsProvider::test"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
NAMES = ["AWSTraceHeader", "ApproximateFirstReceiveTimestamp", "ApproximateReceiveCount", "DeadLetterQueueSourceArn", "SentTimestamp"]  # fmt: skip


@replays(f"{TEST}_dead_letter_queue_message_attributes")
def attributes_of_dead_letters(aws: Emulator) -> Responses:
    sqs, (dead_url, dead_arn) = aws.client("sqs"), create_queue(aws)
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = create_queue(aws, RedrivePolicy=redrive, VisibilityTimeout="0")
    attribute = {"MyAttribute": {"DataType": "String", "StringValue": "foobar"}}
    header = {"AWSTraceHeader": {"DataType": "String", "StringValue": TRACE}}
    sqs.send_message(QueueUrl=url, MessageBody="message-1", MessageAttributes=attribute, MessageSystemAttributes=header)
    sqs.send_message(QueueUrl=url, MessageBody="message-2")
    options = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": NAMES, "MaxNumberOfMessages": 10}
    first = sqs.receive_message(QueueUrl=url, **options)["Messages"]
    sqs.receive_message(QueueUrl=url)
    dead = sqs.receive_message(QueueUrl=dead_url, WaitTimeSeconds=5, **options).get("Messages", [])
    return {"sourcen-arn": arn, "dlq-arn": dead_arn, "rec-pre-dlq": first, "dlq-messages": dead}


@replays(
    f"{TEST}_dead_letter_queue_with_fifo_and_content_based_deduplication[sqs]",
    f"{TEST}_dead_letter_queue_with_fifo_and_content_based_deduplication[sqs_query]",
)
def dead_letters_of_fifo_queues(aws: Emulator) -> Responses:
    """Return {} if the message arrives in the dead-letter queue: the original test records nothing."""
    sqs = aws.client("sqs")
    fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    dead_name = f"{unique('dead')}.fifo"
    dead = sqs.create_queue(QueueName=dead_name, Attributes=fifo | {"MessageRetentionPeriod": "1209600"})["QueueUrl"]
    redrive = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{dead_name}", "maxReceiveCount": "1"}
    attributes = fifo | {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "0"}
    url = sqs.create_queue(QueueName=f"{unique('source')}.fifo", Attributes=attributes)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="foobar", MessageGroupId="1")
    sqs.receive_message(QueueUrl=url)
    sqs.receive_message(QueueUrl=url)
    bodies = [message["Body"] for message in receive(aws, dead, 1)]
    return {} if bodies == ["foobar"] else {"dead-letters": bodies}


@replays(f"{TEST}_invalid_dead_letter_arn_rejected_before_lookup")
def malformed_dead_letter_arn(aws: Emulator) -> Responses:
    """Return {} if the call is refused: the original test records nothing."""
    policy = json.dumps({"deadLetterTargetArn": "dummy", "maxReceiveCount": 42})
    create = aws.client("sqs").create_queue
    refused = refusal(create, QueueName=unique("recorded"), Attributes={"RedrivePolicy": policy})
    return {} if "Error" in refused else refused
