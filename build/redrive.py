"""Deliver the events in a project's dead-letter queue to its functions again."""

import json
from collections.abc import Callable
from typing import Any

from build.account import Account, identity, listed

# Source of an event -> the function that handles it.
FUNCTIONS = {"aws.s3": "execute-pipeline", "aws.sagemaker": "deploy-model"}


def redrive(account: Account, name: str, say: Callable[[str], None] = print) -> int:
    """Invoke the functions with every event in a project's dead-letter queue, and delete it from there.

    Return the number of events. The functions establish the newest state whatever the event was, so nothing is done
    twice. Raise ValueError if there is no such project, or for a message that is not an event of the project.
    """
    identity(account)
    number = project_id_of(account, name)
    queue = account.sqs.get_queue_url(QueueName=f"sagemaker-{number}-dead-letters")["QueueUrl"]
    count = 0
    while messages := account.sqs.receive_message(
        QueueUrl=queue,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=1,
        VisibilityTimeout=60,
        MessageAttributeNames=["All"],
    ).get("Messages"):
        for message in messages:
            event = event_of(message["Body"])
            if (function := FUNCTIONS.get(event.get("source", ""))) is None:
                raise ValueError(
                    f"message {message['MessageId']} holds no event of this project's. Look at it in the queue."
                )
            getattr(account, "lambda").invoke(
                FunctionName=f"sagemaker-{number}-{function}",
                InvocationType="Event",
                Payload=json.dumps(event).encode(),
            )
            account.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            say(
                f"{function} gets the {event.get('detail-type', 'event')} of {event.get('time', '?')} again; "
                f"it had failed: {reason_of(message)}"
            )
            count += 1
    if not count:
        say("The queue is empty.")
    return count


def project_id_of(account: Account, name: str) -> str:
    """Return the id of a project. Raise ValueError if there is none of that name."""
    projects = listed(account.sagemaker, "list_projects", "ProjectSummaryList", NameContains=name)
    numbers = [project["ProjectId"] for project in projects if project["ProjectName"] == name]
    if not numbers:
        raise ValueError(f"there is no project {name}. Run make redrive PROJECT=<name>")
    return numbers[0]


def event_of(body: str) -> dict[str, Any]:
    """Return the event in a message.

    Dead-letter queues of Lambda and EventBridge hold the event itself; an on-failure destination holds it as
    requestPayload: docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    message = json.loads(body)
    return message.get("requestPayload", message)


def reason_of(message: dict[str, Any]) -> str:
    """Return why delivery of an event failed. Lambda and EventBridge name the message attribute differently."""
    attributes = message.get("MessageAttributes", {})
    texts = [attributes[name]["StringValue"] for name in ("ErrorMessage", "ERROR_MESSAGE") if name in attributes]
    return texts[0] if texts else "the message does not say why"
