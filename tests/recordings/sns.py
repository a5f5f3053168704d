"""SNS: topics that do not exist."""

from recordings import Responses, refusal, replays, unique
from rehearsal.server import ACCOUNT, REGION, Emulator

ACCEPTED: dict[str, dict[str, str]] = {}
NOT_REPLAYED: dict[str, str] = {}
UNKNOWN = f"arn:aws:sns:{REGION}:{ACCOUNT}:no-such-topic"


@replays("test_sns::TestSNSPublishCrud::test_unknown_topic_publish")
def publish_to_an_unknown_topic(aws: Emulator) -> Responses:
    sns = aws.client("sns")
    topic = sns.create_topic(Name=unique("recorded"))["TopicArn"]
    return {
        "success": sns.publish(TopicArn=topic, Message="message"),
        "error": refusal(sns.publish, TopicArn=UNKNOWN, Message="message"),
    }


@replays("test_sns::TestSNSSubscriptionCrudV2::test_subscribe_unknown_topic")
def subscribe_to_an_unknown_topic(aws: Emulator) -> Responses:
    subscribe = aws.client("sns").subscribe
    refused = refusal(subscribe, TopicArn=UNKNOWN, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue")
    return {"subscribe-unknown-topic": refused}
