"""Redrive reads events from a dead-letter queue in each form in which EventBridge and Lambda put them there."""

import json

import pytest

from build.redrive import event_of, reason_of

EVENT = {"source": "aws.s3", "detail-type": "Object Created"}


@pytest.mark.parametrize("body", [EVENT, {"version": "1.0", "requestPayload": EVENT, "responsePayload": {}}])
def test_the_event_is_found_as_it_is_and_inside_of_a_record(body):
    assert event_of(json.dumps(body)) == EVENT


@pytest.mark.parametrize("name", ["ErrorMessage", "ERROR_MESSAGE"])
def test_the_reason_is_read_from_lambdas_attributes_and_from_eventbridges(name):
    assert reason_of({"MessageAttributes": {name: {"DataType": "String", "StringValue": "denied"}}}) == "denied"


def test_a_message_without_a_reason_says_so():
    assert reason_of({"Body": "{}"}) == "the message does not say why"
