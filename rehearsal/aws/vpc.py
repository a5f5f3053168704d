"""Check, as SageMaker does, that a job or a model may join a VPC: its subnets and security groups exist, its role may.

https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html lists the permissions that the role needs.
"""

from typing import Any

from rehearsal.aws import adapter
from rehearsal.aws.protocol import AwsError

DESCRIBES = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")


def join(config: dict[str, Any] | None, role_arn: str) -> None:
    """Raise ValidationException unless the subnets and security groups exist in one VPC, and the role may join it."""
    if not config:
        return
    subnets, groups = config["Subnets"], config["SecurityGroupIds"]
    vpcs = {name: adapter.vpc_of("subnet", name) for name in subnets}
    vpcs |= {name: adapter.vpc_of("security-group", name) for name in groups}
    if missing := [name for name, vpc in vpcs.items() if vpc is None]:
        raise AwsError("ValidationException", f"There is no {', '.join(missing)}.")
    if len(set(vpcs.values())) > 1:
        told = ", ".join(f"{name} in {vpc}" for name, vpc in vpcs.items())
        raise AwsError("ValidationException", f"Subnets and security groups are in several VPCs: {told}.")
    key = adapter.credentials_of(role_arn, "SageMaker", "sagemaker.amazonaws.com")["AWS_ACCESS_KEY_ID"]
    interface = arn("network-interface/*")
    try:
        for name in DESCRIBES:
            adapter.caller_may(key, f"ec2:Describe{name}", "*")
        for subnet in subnets:
            adapter.caller_may(key, "ec2:CreateNetworkInterface", arn(f"subnet/{subnet}"), {"ec2:SubnetID": subnet})
            for action in (
                "CreateNetworkInterfacePermission",
                "DeleteNetworkInterfacePermission",
                "DeleteNetworkInterface",
            ):
                adapter.caller_may(key, f"ec2:{action}", interface, {"ec2:Subnet": arn(f"subnet/{subnet}")})
        for group in groups:
            context = {"ec2:SecurityGroupID": group}
            adapter.caller_may(key, "ec2:CreateNetworkInterface", arn(f"security-group/{group}"), context)
        adapter.caller_may(key, "ec2:CreateNetworkInterface", interface)
    except adapter.AccessDenied as denied:
        raise AwsError("ValidationException", f"The role cannot join the VPC. {denied}") from denied


def arn(resource: str) -> str:
    return f"arn:aws:ec2:{adapter.REGION}:{adapter.ACCOUNT}:{resource}"
