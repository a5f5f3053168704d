"""CloudFormation: check template resources as their service's API does; ministack's provisioners bypass the APIs."""

from collections.abc import Callable
from typing import Any

from ministack.services.cloudformation import provisioners


def hold_to(resource_type: str, require: Callable[[str, dict[str, Any]], None]) -> None:
    """Call `require(name, properties)` before a resource of a type is created or updated.

    It raises ValueError to reject the properties. The name is the logical id, or the physical id in an update.
    """
    handlers = provisioners._RESOURCE_HANDLERS[resource_type]
    create, update = handlers["create"], handlers.get("update")

    def checked_create(logical_id: str, properties: dict[str, Any], *more: Any) -> Any:
        require(logical_id, properties)
        return create(logical_id, properties, *more)

    def checked_update(physical_id: str, old: dict[str, Any], new: dict[str, Any], *more: Any) -> Any:
        require(physical_id, new)
        return update(physical_id, old, new, *more)

    handlers["create"] = checked_create
    if update:
        handlers["update"] = checked_update
