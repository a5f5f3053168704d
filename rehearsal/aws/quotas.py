"""Emulate Service Quotas: how many spot instances of each type may train at the same time."""

from typing import Any

from rehearsal.aws import adapter
from rehearsal.aws.protocol import Caller, Service, page, service_model

SPOT_QUOTA = 4.0


class Quotas(Service):
    """The spot training quotas, all with the same value; AWS's differ, and are 0 in many new accounts."""

    name = "service-quotas"
    target_prefix = "ServiceQuotasV20190624"

    def __init__(self) -> None:
        super().__init__()
        adapter.call_in_policies(self.name, "servicequotas")
        types = service_model("sagemaker").shape_for("TrainingInstanceType").enum
        self.values = {f"{name} for spot training job usage": SPOT_QUOTA for name in types}

    def list_service_quotas(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        quotas = [
            {"ServiceCode": "sagemaker", "QuotaName": name, "Value": value} for name, value in self.values.items()
        ]
        return page(quotas if parameters["ServiceCode"] == "sagemaker" else [], parameters, "Quotas")
