"""CloudFormation: additional resource types, the role that a stack acts as, and checks that ministack lacks."""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from ministack import app as ministack_app
from ministack.core.responses import now_iso
from ministack.services import cloudformation as cloudformation_state
from ministack.services import iam, lambda_svc
from ministack.services.cloudformation import changesets, custom_resource, engine, handlers, provisioners, stacks

from rehearsal.aws import acting, schemas, templates
from rehearsal.aws.adapter import stack_descriptions
from rehearsal.aws.adapter.existing import refuse_existing
from rehearsal.aws.adapter.identities import AccessDenied, caller_may, credentials_of, role_of
from rehearsal.aws.adapter.services import Response

_worker_thread_types: set[str] = set()
# Resource type -> callbacks that get the physical id and the properties of a created or updated resource.
_also_made: dict[str, list[Callable[[str, dict[str, Any]], None]]] = {}


Create = Callable[[str, dict[str, Any], str], tuple[str, dict[str, Any]]]
Update = Callable[[str, dict[str, Any], dict[str, Any], str], tuple[str, dict[str, Any]]]
Delete = Callable[[str, dict[str, Any]], None]


def add_resource_type(name: str, create: Create, update: Update, delete: Delete) -> None:
    """Register a resource type with CloudFormation; its handlers run on a worker thread.

    create(logical id, properties, stack name) and update(physical id, old properties, new properties, stack name)
    return (physical id, attributes); delete(physical id, properties) returns nothing.
    """
    provisioners._RESOURCE_HANDLERS[name] = {"create": create, "update": update, "delete": delete}
    _worker_thread_types.add(name)


def runs_on_worker_thread(resource_type: str) -> None:
    """Run a resource type's handlers on a worker thread: they call this server, and would block its event loop."""
    _worker_thread_types.add(resource_type)


def when_made(resource_type: str, also: Callable[[str, dict[str, Any]], None]) -> None:
    """Call `also(physical id, properties)` after a create or update, to apply properties that ministack drops."""
    _also_made.setdefault(resource_type, []).append(also)


def _keep_boundary(name: str, properties: dict[str, Any]) -> None:
    iam._roles[name].pop("PermissionsBoundary", None)
    if "PermissionsBoundary" in properties:
        iam._roles[name]["PermissionsBoundary"] = properties["PermissionsBoundary"]


def _keep_dead_letters(name: str, properties: dict[str, Any]) -> None:
    configuration = lambda_svc._functions[name]["config"]
    configuration.pop("DeadLetterConfig", None)
    if "DeadLetterConfig" in properties:
        configuration["DeadLetterConfig"] = properties["DeadLetterConfig"]


when_made("AWS::IAM::Role", _keep_boundary)
when_made("AWS::Lambda::Function", _keep_dead_letters)


def _runs_on_worker_thread(resource_type: str) -> bool:
    return resource_type in _worker_thread_types or _original_worker(resource_type)


_original_worker = stacks._runs_on_worker_thread
stacks._runs_on_worker_thread = _runs_on_worker_thread


# --- roles of stacks ------------------------------------------------------------------------------------------------

_acts_as: dict[str, dict[str, str]] = {}  # stack name -> credentials of the role that it acts as
# Stack name -> custom resource whose deletion failed: AWS then keeps what it depends on, ministack deletes that, too.
_stopped_deletes: dict[str, str] = {}


async def _cloudformation(
    method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, list[str]]
) -> Response:
    """Remember the role that a stack acts as: the request's RoleARN, else the caller's. Reject invalid operations."""
    form = {key: values[0] for key, values in {**parse_qs(body.decode()), **query}.items()}
    name = form.get("StackName", "").rsplit(":stack/", 1)[-1].split("/")[0]
    if form.get("Action") in ("CreateStack", "UpdateStack", "DeleteStack"):
        _stopped_deletes.pop(name, None)
        access_key = re.search(r"Credential=([^/,\s]+)/", headers.get("authorization", ""))
        caller = role_of(access_key.group(1)) if access_key else None
        try:
            if role := form.get("RoleARN"):
                caller_may(
                    access_key.group(1), "iam:PassRole", role, {"iam:PassedToService": "cloudformation.amazonaws.com"}
                )
                _acts_as[name] = credentials_of(role, "AWSCloudFormation", "cloudformation.amazonaws.com")
            elif caller:
                _acts_as[name] = {"AWS_ACCESS_KEY_ID": access_key.group(1)}
        except AccessDenied as denied:
            text = f"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{denied}</Message></Error></ErrorResponse>"
            return 403, {"Content-Type": "text/xml"}, text.encode()
    if refused := _refused(form, name):
        return refused
    _keep_deleted(form.get("Action"), name)
    return await _original_cloudformation(method, path, headers, body, query)


def _require(
    resource_type: str, operation: str, properties: dict[str, Any], stack_name: str | None, **more: Any
) -> None:
    """Raise ValueError unless the stack's role has the permissions that an operation on a resource needs."""
    credentials = _acts_as.get(stack_name or "")
    for action, resource, context in acting.needed(resource_type, operation, properties, **more) if credentials else []:
        try:
            caller_may(credentials["AWS_ACCESS_KEY_ID"], action, resource, context)
        except AccessDenied as denied:
            raise ValueError(str(denied)) from denied


def _validate(resource_type: str, logical_id: str, properties: dict[str, Any]) -> None:
    """Raise ValueError with CloudFormation's reason if a resource's properties do not match its schema."""
    if _is_custom(resource_type):
        return
    if problems := schemas.problems(resource_type, _own(properties)):
        text = "\n".join(problems)
        raise ValueError(f"Properties validation failed for resource {logical_id} with message:\n{text}")


def _own(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the properties without CloudFormation's own tags, whose keys no template may use."""
    tags = properties.get("Tags")
    if isinstance(tags, list):
        own = [tag for tag in tags if not str(tag.get("Key")).startswith("aws:cloudformation:")]
        properties = {**properties, "Tags": own} if own else {k: v for k, v in properties.items() if k != "Tags"}
    return properties


def _provision_resource(resource_type: str, logical_id: str, props: dict, stack_name: str) -> tuple:
    _validate(resource_type, logical_id, props)
    _require(resource_type, "create", props, stack_name)
    refuse_existing(resource_type, props)
    try:
        made = _original_provision(resource_type, logical_id, props, stack_name)
    except Exception:
        if _is_custom(resource_type):
            _keep_failed(resource_type, logical_id, props, stack_name)
        raise
    for also in _also_made.get(resource_type, []):
        also(made[0], props)
    return made


def _update_resource(
    resource_type: str,
    physical_id: str,
    old_props: dict,
    new_props: dict,
    stack_name: str,
    logical_id: str | None = None,
    old_attrs: dict | None = None,
) -> tuple:
    changed = {name for name in old_props | new_props if old_props.get(name) != new_props.get(name)}
    if changed:
        _validate(resource_type, logical_id or physical_id, new_props)
        replaces = provisioners._replacing_change(resource_type, old_props, new_props)
        operation = "create" if replaces else "update"
        _require(resource_type, operation, new_props, stack_name, changed=changed)
    made = _original_update(resource_type, physical_id, old_props, new_props, stack_name, logical_id, old_attrs)
    for also in _also_made.get(resource_type, []) if changed else []:
        also(made[0], new_props)
    return made


@contextmanager
def _deletion_events(
    resource_type: str, physical_id: str, stack_name: str | None, logical_id: str | None
) -> Iterator[None]:
    """Add a deletion's events if ministack does not: when an update replaces or removes a resource."""
    stack = cloudformation_state._stacks.get(stack_name or "")
    last = stack_descriptions.last_event(stack["StackId"], logical_id or "") if stack else {}
    silent = stack and logical_id and last["ResourceStatus"] != "DELETE_IN_PROGRESS"
    event = (stack["StackId"], stack_name, logical_id, resource_type) if silent else ()
    if event:
        stacks._add_event(*event, "DELETE_IN_PROGRESS", "", physical_id)
    yield
    if event:
        stacks._add_event(*event, "DELETE_COMPLETE", "", physical_id)


def _delete_resource(
    resource_type: str, physical_id: str, props: dict, stack_name: str | None = None, logical_id: str | None = None
) -> None:
    if stack_name in _stopped_deletes:
        raise ValueError(f"not tried: {_stopped_deletes[stack_name]}, which needs it, could not be deleted")
    _require(resource_type, "delete", props, stack_name)
    try:
        with _deletion_events(resource_type, physical_id, stack_name, logical_id):
            _original_delete(resource_type, physical_id, props, stack_name, logical_id)
    except Exception:
        if _is_custom(resource_type) and stack_name:
            _stopped_deletes[stack_name] = logical_id or resource_type
        raise


_original_cloudformation = ministack_app.SERVICE_HANDLERS["cloudformation"]
ministack_app.SERVICE_HANDLERS["cloudformation"] = _cloudformation
_original_provision, _original_delete = stacks._provision_resource, stacks._delete_resource
stacks._provision_resource, stacks._delete_resource = _provision_resource, _delete_resource
_original_update = stacks._update_resource
stacks._update_resource = _update_resource


# --- custom resources whose creation fails ---------------------------------------------------------------------------
# docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html: the response to a failed Create has a
# PhysicalResourceId, too. The rollback sends a Delete with it; so does deleting a stack that was not rolled back.

_CREATE_FAILED = "CREATE_FAILED"
_physical_ids: dict[tuple[str, str], str] = {}  # (stack id, logical id) -> physical id in the last response


def _is_custom(resource_type: str) -> bool:
    return resource_type.startswith("Custom::") or resource_type == "AWS::CloudFormation::CustomResource"


def _deliver_response(token: str, response: dict) -> bool:
    if physical_id := response.get("PhysicalResourceId"):
        _physical_ids[response.get("StackId", ""), response.get("LogicalResourceId", "")] = physical_id
    return _original_deliver(token, response)


def _keep_failed(resource_type: str, logical_id: str, properties: dict[str, Any], stack_name: str) -> None:
    """Keep a custom resource whose creation failed among its stack's resources, so that it gets a Delete."""
    stack = cloudformation_state._stacks[stack_name]
    stack["_resources"][logical_id] = {
        "PhysicalResourceId": _physical_ids.pop((stack["StackId"], logical_id), "")
        or physical_name(stack_name, logical_id, 128),
        "ResourceType": resource_type,
        "ResourceStatus": _CREATE_FAILED,
        "LogicalResourceId": logical_id,
        "Properties": properties,
        "Attributes": {},
        "Timestamp": now_iso(),
    }


async def _roll_back(stack_name: str, stack_id: str, stack: dict, operation: dict, reason_override: str = "") -> None:
    failed = operation.get("failed_logical_id")
    if stack.get("_resources", {}).get(failed, {}).get("ResourceStatus") == _CREATE_FAILED:
        operation = {**operation, "created": [*operation.get("created", []), failed]}
    await _original_roll_back(stack_name, stack_id, stack, operation, reason_override)


_original_deliver, _original_roll_back = custom_resource.deliver_response, stacks._roll_back_operation
custom_resource.deliver_response = _deliver_response
stacks._roll_back_operation = handlers._roll_back_operation = _roll_back


# --- templates and parameters ----------------------------------------------------------------------------------------


def _resolve_parameters(template: dict, provided_params: list[dict], previous_params: dict | None = None) -> dict:
    templates.check_format(template)
    templates.check_parameters(template, provided_params)
    return _original_parameters(template, provided_params, previous_params)


def _validate_template(template: dict, conditions: dict, params: dict | None = None) -> None:
    templates.check_format(template)
    _original_template(template, conditions, params)
    if params is not None:
        templates.check_dependencies(template, conditions)
        try:
            engine._topological_sort(template["Resources"], conditions)
        except ValueError as circular:
            names = str(circular).rsplit(": ", 1)[-1]
            raise ValueError(f"Circular dependency between resources: [{names}]") from circular


def _has_no_updates(
    stack: dict,
    template: dict,
    param_values: dict,
    tags: list,
    use_previous_template: bool = False,
    tags_given: bool = False,
) -> bool:
    """Return whether an update changes nothing that CloudFormation compares: see `templates.effective`."""
    dynamic = not use_previous_template and engine._has_dynamic_references(template)
    if dynamic or stacks._stack_tags_changed(stack, tags, tags_given):
        return False
    return _effective(template, param_values) == _effective(stack["_template"], stack["_resolved_params"])


def _effective(template: dict, parameters: dict) -> dict[str, Any]:
    values = {name: each["Value"] for name, each in parameters.items()}
    return templates.effective(template, engine._evaluate_conditions(template, parameters), values)


_original_parameters, _original_template = engine._resolve_parameters, engine.validate_template_support
for _module in (engine, handlers, changesets):
    _module._resolve_parameters = _resolve_parameters
    _module.validate_template_support = _validate_template
handlers._stack_has_no_updates = _has_no_updates


def _refused(form: dict[str, str], name: str) -> Response | None:
    """Return AWS's error for an operation that the stack's status does not permit, else None."""
    stack = cloudformation_state._stacks.get(name)
    if not stack or stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    action, status = form.get("Action"), stack["StackStatus"]
    if action == "CreateStack":
        return handlers._error("AlreadyExistsException", f"Stack [{name}] already exists")
    if action == "CreateChangeSet" and form.get("ChangeSetType") == "CREATE" and status != "REVIEW_IN_PROGRESS":
        changes = form.get("ChangeSetName", "")
        reason = f"Stack [{name}] already exists and cannot be created again with the changeSet [{changes}]."
        return handlers._error("ValidationError", reason)
    # docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html: a stack whose creation was rolled
    # back can only be deleted.
    if action == "UpdateStack" and status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
        reason = f"Stack:{stack['StackId']} is in {status} state and can not be updated."
        return handlers._error("ValidationError", reason)
    return None


def _keep_deleted(action: str | None, name: str) -> None:
    """Keep a deleted stack under its id when a new one takes its name; AWS keeps it for 90 days."""
    stack = cloudformation_state._stacks.get(name)
    if action in ("CreateStack", "CreateChangeSet") and stack and stack["StackStatus"] == "DELETE_COMPLETE":
        cloudformation_state._stacks[stack["StackId"]] = cloudformation_state._stacks.pop(name)


def physical_name(stack: str, logical_id: str, longest: int) -> str:
    """Return a name as CloudFormation generates it: stack name (cut to fit `longest`), logical id, random suffix."""
    tail = f"-{logical_id}-{uuid.uuid4().hex[:12]}"
    return stack[: longest - len(tail)] + tail
