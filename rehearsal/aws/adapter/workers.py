"""Lambda: end the worker processes of a function when it is deleted.

ministack ends them in DeleteFunction only, and would keep the workers of a function that a stack deletes or renames, or
that is deleted while it runs or is retried.
"""

from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from rehearsal.aws.adapter.running import ACCOUNT, REGION


def _end_idle(name: str) -> None:
    """End the idle workers of a deleted function; running invocations may finish."""
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
    """Run a function; if it was deleted meanwhile, end its worker afterwards."""
    try:
        return _original_execute(function, event, request_id)
    finally:
        name = (function.get("config") or function)["FunctionName"]
        if name not in lambda_svc._functions:
            _end_idle(name)


_original_delete, _original_execute = provisioners._lambda_delete, lambda_svc._execute_function_warm
provisioners._lambda_delete = _delete_resource  # called when an update replaces a function
provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]["delete"] = _delete_resource
lambda_svc._execute_function_warm = _execute
