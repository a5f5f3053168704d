"""IAM: reject malformed policies, policies over their quota and invalid names, with AWS's messages.

docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html and reference_iam-quotas.html
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from ministack.services import iam

from rehearsal.aws.adapter.constraints import violation
from rehearsal.aws.adapter.running import ACCOUNT
from rehearsal.aws.adapter.templates import hold_to

Statement = dict[str, Any]
MAX_INLINE_CHARACTERS = 10_240  # all inline policies of a role together, without white space
MAX_TRUST_CHARACTERS = 2_048
_MEMBERS = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
_OPERATOR = re.compile(
    r"(ForAllValues:|ForAnyValue:)?"
    r"(String(Not)?(Equals|EqualsIgnoreCase|Like)|Numeric(Not)?Equals|Numeric(Less|Greater)Than(Equals)?|Date(Not)?Equals"
    r"|Date(Less|Greater)Than(Equals)?|Bool|BinaryEquals|(Not)?IpAddress|Arn(Not)?(Equals|Like)|Null)(IfExists)?"
)


def problem_of_trust(document: str | dict[str, Any]) -> str | None:
    """Return AWS's message about a malformed trust policy, or None."""
    statements = _statements(document)
    if isinstance(statements, str):
        return "This policy contains invalid Json" if statements == "json" else statements
    for statement in statements:
        for member in ("Resource", "NotResource"):
            if member in statement:
                return f"Has prohibited field {member}"
        if "Principal" not in statement and "NotPrincipal" not in statement:
            return "Missing required field Principal"
        if any(action != "*" and not action.lower().startswith("sts:") for action in _list(statement.get("Action"))):
            return "AssumeRole policy may only specify STS AssumeRole actions."
        if unknown := _unknown_principal(statement):
            return f'Invalid principal in policy: "AWS":"{unknown}"'
    return None


def problem_of_identity_policy(document: str | dict[str, Any]) -> str | None:
    """Return AWS's message about a malformed identity policy, or None."""
    statements = _statements(document)
    if isinstance(statements, str):
        return "Syntax errors in policy." if statements == "json" else statements
    names = [statement["Sid"] for statement in statements if "Sid" in statement]
    if len(set(names)) < len(names):
        return "Statement IDs (SID) in a single policy must be unique."
    return next((problem for statement in statements if (problem := _problem_of_statement(statement))), None)


def problem_of_resource_policy(document: str | dict[str, Any]) -> str | None:
    """Return what is wrong with the policy of a topic or a queue, or None."""
    statements = _statements(document)
    if isinstance(statements, str):
        return "The policy is no JSON object." if statements == "json" else statements
    for member, other in (("Principal", "NotPrincipal"), ("Action", "NotAction")):
        if any(member not in statement and other not in statement for statement in statements):
            return f"Missing required field {member}"
    return None


def _problem_of_statement(statement: Statement) -> str | None:
    if not re.fullmatch("[0-9A-Za-z]*", statement.get("Sid", "")):
        form = "Check that your input satisfies the regular expression [0-9A-Za-z]*"
        return f"Statement IDs (SID) must be alpha-numeric. {form}"
    if "Principal" in statement or "NotPrincipal" in statement:
        return "Policy document should not specify a principal."
    if "Action" not in statement and "NotAction" not in statement:
        return "Policy statement must contain actions."
    if "Resource" not in statement and "NotResource" not in statement:
        return "Policy statement must contain resources."
    for action in _list(statement.get("Action")) + _list(statement.get("NotAction")):
        if action != "*" and ":" not in action:
            return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
    for resource in _list(statement.get("Resource")) + _list(statement.get("NotResource")):
        if resource != "*" and not re.match(r"arn:([^:]*:){4}", resource):
            return f'Resource {resource} must be in ARN format or "*".'
    return None


def _statements(document: str | dict[str, Any]) -> list[Statement] | str:
    """Return a policy's statements, or a message about its grammar, or "json" if it is not a JSON object."""
    try:
        policy = json.loads(document) if isinstance(document, str) else document
    except (ValueError, RecursionError):
        return "json"
    if not isinstance(policy, dict):
        return "json"
    statements = statements_of(policy)
    right = policy.keys() <= {"Version", "Id", "Statement"} and policy.get("Version", "2012-10-17") in (
        "2012-10-17",
        "2008-10-17",
    )
    if not right or not statements or not all(each.keys() <= _MEMBERS for each in statements):
        return "Syntax errors in policy."
    if not all(each.get("Effect") in ("Allow", "Deny") for each in statements):
        return "Syntax errors in policy."
    operators = [operator for each in statements for operator in each.get("Condition", {})]
    wrong = [operator for operator in operators if not _OPERATOR.fullmatch(operator)]
    return f"Invalid Condition type : {wrong[0]}." if wrong else statements


def statements_of(policy: dict[str, Any]) -> list[Statement]:
    """Return the statements of a policy; [] if it has none, or if a member of any of them has an invalid type.

    docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
    """
    statements = policy.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    return statements if isinstance(statements, list) and all(map(_is_typed, statements)) else []


def _is_typed(statement: Any) -> bool:
    if not isinstance(statement, dict):
        return False
    texts = [statement[name] for name in ("Action", "NotAction", "Resource", "NotResource") if name in statement]
    for principal in (statement[name] for name in ("Principal", "NotPrincipal") if name in statement):
        if principal != "*":
            texts += principal.values() if isinstance(principal, dict) else [None]
    conditions = statement.get("Condition", {})
    return (
        all(isinstance(statement.get(name, ""), str) for name in ("Sid", "Effect"))
        and all(_is_texts(each) for each in texts)
        and isinstance(conditions, dict)
        and all(isinstance(each, dict) for each in conditions.values())
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _unknown_principal(statement: Statement) -> str | None:
    """Return the ARN of a role of this account that a trust policy names and that does not exist, or None."""
    principals = statement.get("Principal")
    for arn in _list(principals.get("AWS")) if isinstance(principals, dict) else []:
        if arn.startswith(f"arn:aws:iam::{ACCOUNT}:role/") and arn.rsplit("/", 1)[-1] not in iam._roles:
            return arn
    return None


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def _length(document: str | dict[str, Any]) -> int:
    """Return the number of characters that count for a policy's quota: all but white space."""
    text = document if isinstance(document, str) else json.dumps(document)
    return len(re.sub(r"\s", "", text))


def require_inline(role: str, documents: Iterable[str | dict[str, Any]]) -> tuple[str, str] | None:
    """Return error code and message if the inline policies of a role are too long together, else None."""
    if sum(_length(document) for document in documents) <= MAX_INLINE_CHARACTERS:
        return None
    return "LimitExceeded", f"Maximum policy size of {MAX_INLINE_CHARACTERS} bytes exceeded for role {role}"


# --- the API ---------------------------------------------------------------------------------------------------------


def problem_of_request(operation: str, request: dict[str, Any]) -> tuple[str, str] | None:
    """Return code and message of AWS's error for a request, or None if IAM would accept it."""
    checked = {name: value for name, value in request.items() if not name.endswith("Document")}
    if broken := violation("iam", operation, checked):
        return "ValidationError", broken
    if operation in ("CreateRole", "UpdateAssumeRolePolicy"):
        document = request.get("AssumeRolePolicyDocument", request.get("PolicyDocument", ""))
        if problem := problem_of_trust(document):
            return "MalformedPolicyDocument", problem
        if _length(document) > MAX_TRUST_CHARACTERS:
            return "LimitExceeded", f"Cannot exceed quota for ACLSizePerRole: {MAX_TRUST_CHARACTERS}"
    elif "PolicyDocument" in request and (problem := problem_of_identity_policy(request["PolicyDocument"])):
        return "MalformedPolicyDocument", problem
    if operation == "PutRolePolicy" and (role := iam._roles.get(request["RoleName"])):
        documents = role["InlinePolicies"] | {request["PolicyName"]: request["PolicyDocument"]}
        return require_inline(request["RoleName"], documents.values())
    return None


def _checked(operation: str, original: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def handle(parameters: dict[str, Any]) -> Any:
        first = {name: iam._p(parameters, name) for name in parameters if "." not in name}
        request = {name: value for name, value in first.items() if isinstance(value, str)}
        if problem := problem_of_request(operation, request):
            return iam._error(409 if problem[0] == "LimitExceeded" else 400, *problem)
        return original(parameters)

    return handle


_HANDLERS = {
    "CreatePolicy": "_create_policy",
    "CreatePolicyVersion": "_create_policy_version",
    "CreateRole": "_create_role",
    "PutRolePolicy": "_put_role_policy",
    "PutUserPolicy": "_put_user_policy",
    "UpdateAssumeRolePolicy": "_update_assume_role_policy",
}
for _operation, _name in _HANDLERS.items():
    _handler = _checked(_operation, getattr(iam, _name))
    setattr(iam, _name, _handler)
    iam._IAM_HANDLERS[_operation] = _handler


# --- templates -------------------------------------------------------------------------------------------------------


def _require_role(name: str, properties: dict[str, Any]) -> None:
    """Raise ValueError for a template's role that IAM would reject: ministack's provisioner bypasses the API."""
    trust = properties.get("AssumeRolePolicyDocument", {})
    request = {member: properties[member] for member in ("RoleName", "Path", "Description") if member in properties}
    problem = problem_of_request("CreateRole", request | {"AssumeRolePolicyDocument": trust})
    policies = properties.get("Policies", [])
    for policy in policies:
        parts = {"RoleName": "role", "PolicyName": policy["PolicyName"], "PolicyDocument": policy["PolicyDocument"]}
        problem = problem or problem_of_request("PutRolePolicy", parts)
    problem = problem or require_inline(name, [policy["PolicyDocument"] for policy in policies])
    if problem:
        raise ValueError(f"{problem[1]} (Service: Iam, Status Code: 400, Error Code: {problem[0]})")


def _require_managed(name: str, properties: dict[str, Any]) -> None:
    if problem := problem_of_identity_policy(properties.get("PolicyDocument", {})):
        raise ValueError(f"{problem} (Service: Iam, Status Code: 400, Error Code: MalformedPolicyDocument)")


def _require_resource_policy(name: str, properties: dict[str, Any]) -> None:
    if problem := problem_of_resource_policy(properties.get("PolicyDocument", {})):
        raise ValueError(f"{problem} (Status Code: 400, Error Code: InvalidAttributeValue)")


hold_to("AWS::IAM::ManagedPolicy", _require_managed)
hold_to("AWS::IAM::Role", _require_role)
hold_to("AWS::SNS::TopicPolicy", _require_resource_policy)
hold_to("AWS::SQS::QueuePolicy", _require_resource_policy)
