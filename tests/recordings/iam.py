"""IAM: policies that are not JSON."""

from recordings import Responses, refusal, replays, unique
from rehearsal.server import Emulator

ACCEPTED: dict[str, dict[str, str]] = {}
NOT_REPLAYED: dict[str, str] = {}


@replays("test_iam::TestIAMExtensions::test_create_role_with_malformed_assume_role_policy_document")
def malformed_trust_policy(aws: Emulator) -> Responses:
    create = aws.client("iam").create_role
    return {"invalid-json": refusal(create, RoleName=unique("recorded"), AssumeRolePolicyDocument='{"Version": "2012"')}
