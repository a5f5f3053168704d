"""Lambda: the processes in which functions run end with their functions.

ministack ends them in DeleteFunction, and keeps for good those of a function that a stack deletes or renames, and of
one that is deleted while it still runs or is tried again.
"""

from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from rehearsal.aws.adapter.running import ACCOUNT, REGION


def _end_idle(name: str) -> None:
    """End the workers of a deleted function that run nothing: an invocation that has begun comes to its own end."""
    prefix = f"{ACCOUNT}:{REGION}:{name}:"
    idle = []
    with lambda_runtime._lock:
        for key in [key for key in lambda_runtime._workers if key.startswith(prefix)]:
            workers = lambda_runtime._workers.pop(key)
            idle += [worker for worker in workers if not worker.in_use]
            if busy := [worker for worker in workers if worker.in_use]:
                lambda_runtime._workers[key] = busy
    lambda_runtime.kill_workers(idle)


def _delete_resource(physical_id: str, properties: dict[str, Any]) -> None:
    _original_delete(physical_id, properties)
    _end_idle(physical_id)


def _execute(function: dict[str, Any], event: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Run a function; where it was deleted meanwhile, this was its worker's last invocation."""
    try:
        return _original_execute(function, event, request_id)
    finally:
        name = (function.get("config") or function)["FunctionName"]
        if name not in lambda_svc._functions:
            _end_idle(name)


_original_delete, _original_execute = provisioners._lambda_delete, lambda_svc._execute_function_warm
provisioners._lambda_delete = _delete_resource  # what a replacement calls
provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]["delete"] = _delete_resource
lambda_svc._execute_function_warm = _execute
