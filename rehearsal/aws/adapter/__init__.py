"""The only package that depends on ministack's internals; `tests/test_adapter.py` fails if an upgrade changes them.

Importing it patches ministack: each module's docstring names the service. `__all__` lists what `rehearsal.aws` uses.
"""

from rehearsal.aws.adapter import (  # noqa: F401  (they change services)
    alarms,
    buckets,
    functions,
    identity_policies,
    object_events,
    objects,
    queues,
    stack_descriptions,
    topics,
    workers,
)
from rehearsal.aws.adapter.buckets import bucket_allows_origin
from rehearsal.aws.adapter.builds import begin_phase, end_phase, finish_build, run_builds, stop_requested
from rehearsal.aws.adapter.cloudformation import add_resource_type, physical_name
from rehearsal.aws.adapter.events import add_target, raise_event
from rehearsal.aws.adapter.identities import (
    AccessDenied,
    caller_may,
    credentials_of,
    git_may,
    role_of,
    verify_git_signature,
    vpc_of,
)
from rehearsal.aws.adapter.logs import write_log
from rehearsal.aws.adapter.object_bodies import keep_bodies_in
from rehearsal.aws.adapter.running import (
    ACCOUNT,
    REGION,
    Application,
    client,
    endpoint,
    in_background,
    on_loop,
    root_credentials,
    serve,
)
from rehearsal.aws.adapter.services import Response, add_service, add_tags, authorize_on, call_in_policies
from rehearsal.aws.adapter.signatures import BadSignature, Signature, awaits_response

__all__ = [
    "ACCOUNT",
    "REGION",
    "AccessDenied",
    "Application",
    "BadSignature",
    "Response",
    "Signature",
    "add_resource_type",
    "add_service",
    "add_tags",
    "add_target",
    "authorize_on",
    "awaits_response",
    "begin_phase",
    "bucket_allows_origin",
    "call_in_policies",
    "caller_may",
    "client",
    "credentials_of",
    "end_phase",
    "endpoint",
    "finish_build",
    "git_may",
    "in_background",
    "keep_bodies_in",
    "on_loop",
    "physical_name",
    "raise_event",
    "role_of",
    "root_credentials",
    "run_builds",
    "serve",
    "stop_requested",
    "verify_git_signature",
    "vpc_of",
    "write_log",
]
