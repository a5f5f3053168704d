"""Emulate AWS::Budgets::Budget: budgets are stored but never exceeded, since nothing here costs anything."""

from typing import Any

from rehearsal.aws import adapter


class Budgets:
    """The budgets by name, and their CloudFormation resource type."""

    def __init__(self) -> None:
        self.budgets: dict[str, dict[str, Any]] = {}
        adapter.add_resource_type("AWS::Budgets::Budget", self.create, self.update, self.delete)

    def create(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        name = properties["Budget"].get("BudgetName") or adapter.physical_name(stack, logical_id, 100)
        if float(properties["Budget"]["BudgetLimit"]["Amount"]) <= 0:
            raise ValueError(f"Budget {name}: the amount has to be above zero")
        if name in self.budgets:
            raise ValueError(f"Budget {name} already exists")
        self.budgets[name] = properties
        return name, {}

    def update(self, physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> tuple[str, dict]:
        self.budgets[physical_id] = new
        return physical_id, {}

    def delete(self, physical_id: str, properties: dict[str, Any]) -> None:
        self.budgets.pop(physical_id, None)
