"""Projects from creation to deletion: optional parameters, updates, failures, retained data, deletion during a run."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from conftest import make

from benchmarks.permissions import BUCKET, As, install
from benchmarks.small_project import Stuck, Walk
from build.assemble import assemble
from rehearsal.scenario import leftovers
from rehearsal.server import ACCOUNT


@pytest.fixture(scope="module")
def template(account) -> tuple[str, str, str]:
    launch, key = install(account)
    return launch, BUCKET, key


def test_a_project_is_deleted_in_the_middle_of_a_run_with_a_thousand_versions_in_its_bucket(account, template):
    walk = Walk(account, "Running")
    walk.create(*template)
    walk.build()
    walk.until(walk.runs, "a run to start")
    s3, bucket = account.client("s3"), f"sagemaker-{walk.id}-111122223333"
    for number in range(1100):
        s3.put_object(Bucket=bucket, Key=f"data/{number % 7}", Body=b"x")

    walk.delete()

    assert leftovers(account, walk.id) == []


def test_a_deletion_that_failed_is_gone_on_with(account, template):
    walk = Walk(account, "Twice")
    walk.create(*template)
    walk.build()
    walk.deploy(walk.run())
    s3, bucket = account.client("s3"), f"sagemaker-{walk.id}-111122223333"
    own = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    kept = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteObjectVersion",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({**own, "Statement": [*own["Statement"], kept]}))

    with pytest.raises(Stuck, match="the project could not be deleted"):
        walk.delete()
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(own))
    walk.delete()

    assert leftovers(account, walk.id) == []


def test_what_is_to_stay_stays_and_people_are_told_where(account, template):
    walk = Walk(account, "Staying")
    walk.create(*template, RetainData="true")
    walk.build()
    walk.run()
    mailbox = walk.listen()

    walk.delete()

    bucket, group = f"sagemaker-{walk.id}-111122223333", f"Staying-{walk.id}"
    notices = [notice["Message"] for notice in mailbox.read()]
    assert any(
        f"There still is s3://{bucket}, and the models in the model package group {group}." in n for n in notices
    )
    assert sorted(leftovers(account, walk.id)) == sorted([bucket, group])
    assert account.client("s3").list_objects_v2(Bucket=bucket, Prefix="runs/")["KeyCount"] > 0
    assert account.client("sagemaker").list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]


def test_what_a_function_could_not_do_waits_in_the_queue_and_is_delivered_again(account, template):
    walk = Walk(account, "Redriven")
    walk.create(*template)
    walk.build()
    walk.run()
    iam, sqs = account.client("iam"), account.client("sqs")
    role = f"sagemaker-{walk.id}-execute-pipeline"
    own = iam.get_role_policy(RoleName=role, PolicyName="s3")["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName="s3")
    s3, bucket = account.client("s3"), f"sagemaker-{walk.id}-111122223333"
    definition = json.loads(s3.get_object(Bucket=bucket, Key="pipeline/pipeline.json")["Body"].read())
    next(each for each in definition["Parameters"] if each["Name"] == "Epochs")["DefaultValue"] += 1
    s3.put_object(Bucket=bucket, Key="pipeline/pipeline.json", Body=json.dumps(definition))
    queue = sqs.get_queue_url(QueueName=f"sagemaker-{walk.id}-dead-letters")["QueueUrl"]

    def waiting() -> int:
        counted = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
        return int(counted["Attributes"]["ApproximateNumberOfMessages"])

    walk.until(waiting, "a message in the dead-letter queue")
    iam.put_role_policy(RoleName=role, PolicyName="s3", PolicyDocument=json.dumps(own))
    said = make("redrive", "PROJECT=Redriven", **account.environment()).stdout.splitlines()

    walk.until(lambda: len(walk.runs()) == 2, "the run of what was delivered again")
    assert len(said) == 1
    assert said[0].startswith("execute-pipeline gets the Object Created of ")
    nobody = make("redrive", "PROJECT=Nobody", **account.environment())
    assert "error: there is no project Nobody. Run make redrive PROJECT=<name>" in nobody.stderr
    assert waiting() == 0
    walk.delete()


OPEN = {"Effect": "Allow", "Action": "*", "Resource": "*"}
NO_MODELS = {"Effect": "Deny", "Action": "sagemaker:CreateModelPackage", "Resource": "*"}


VPC = {"SubnetIds": "subnet-00000001,subnet-00000002", "SecurityGroupIds": "sg-00000001"}


def boundary(account, name: str, *statements: dict) -> str:
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return account.client("iam").create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]


def test_every_optional_parameter_together_comes_through(account, template):
    walk = Walk(account, "Chosen")

    stuck = walk.whole(
        *template,
        NoticesEmail="team@example.com",
        MonthlyBudget="50",
        PermissionsBoundaryArn=boundary(account, "Wide", OPEN),
        DataBucketArns="arn:aws:s3:::data-a,arn:aws:s3:::data-b",
        ImageRepositoryArns="arn:aws:ecr:us-east-1:444455556666:repository/team/train",
        FunctionArns="arn:aws:lambda:us-east-1:111122223333:function:ask",
        KmsKeyArn="arn:aws:kms:us-east-1:111122223333:key/0",
        **VPC,
        NetworkIsolation="true",
    )

    assert stuck == ""
    assert leftovers(account, walk.id) == []


def test_a_project_in_a_vpc_runs_nothing_outside_it(account, template):
    walk = Walk(account, "InVpc")
    walk.create(*template, **VPC)
    walk.build()
    package = walk.run()
    walk.deploy(package)
    ours = {"Subnets": VPC["SubnetIds"].split(","), "SecurityGroupIds": [VPC["SecurityGroupIds"]]}

    (model,) = [m for m in walk.sagemaker.list_models()["Models"] if walk.id in m["ModelName"]]
    described = walk.sagemaker.describe_model(ModelName=model["ModelName"])
    assert (described["VpcConfig"], described["EnableNetworkIsolation"]) == (ours, True)
    assert asks(account, walk, account.port) is False  # the endpoint answers, but its container reaches nothing

    process = As(account, f"arn:aws:iam::{ACCOUNT}:role/sagemaker-{walk.id}-pipeline")(
        "sagemaker"
    ).create_processing_job
    for name, network in (("none", {}), ("other", {"VpcConfig": {**ours, "Subnets": ["subnet-00000003"]}})):
        with pytest.raises(ClientError, match="AccessDenied"):
            process(**processing(walk, name), NetworkConfig=network)
    assert process(**processing(walk, "ours"), NetworkConfig={"VpcConfig": ours})["ProcessingJobArn"]

    outside = re.sub(
        r"      VpcConfig: !If\n(        .*\n)+", "", assemble("nlp")["spotkit/deploy/endpoint.yaml"].decode()
    )
    assert "!Ref SubnetIds\n" not in outside
    assert "CreateModel" in refusal_of_stack(account, walk, outside, package)
    walk.delete()


def asks(account, walk: Walk, port: int) -> bool:
    """Return whether the endpoint's container reaches a port of this machine."""
    runtime, endpoint = account.client("sagemaker-runtime"), f"{walk.full_name}-staging"
    asked = {"Body": json.dumps([str(port)]), "ContentType": "application/json"}
    return json.loads(runtime.invoke_endpoint(EndpointName=endpoint, **asked)["Body"].read())[0]["reached"]


def processing(walk: Walk, name: str) -> dict:
    """Return the request of a processing job that does nothing, as a script with the pipeline's role might send it."""
    return {
        "ProcessingJobName": f"pipelines-{walk.id}-{name}",
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/sagemaker-{walk.id}-pipeline",
        "AppSpecification": {"ImageUri": "image", "ContainerEntrypoint": ["true"]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
    }


def refusal_of_stack(account, walk: Walk, body: str, package: str) -> str:
    """Return why a team's own endpoint template fails when it is deployed with the project's stack role."""
    cloudformation, name = account.client("cloudformation"), f"sagemaker-{walk.id}-production"
    given = {
        "ProjectName": walk.name,
        "ProjectId": walk.id,
        "Stage": "production",
        "ModelPackageArn": package,
        "EndpointRoleArn": f"arn:aws:iam::{ACCOUNT}:role/sagemaker-{walk.id}-endpoint",
    }
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=body,
        RoleARN=f"arn:aws:iam::{ACCOUNT}:role/sagemaker-{walk.id}-endpoint-stack",
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
    )

    def failed() -> list[str]:
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        return [event["ResourceStatusReason"] for event in events if event["ResourceStatus"] == "CREATE_FAILED"]

    return walk.until(failed, "the stack to fail")[0]


@pytest.mark.parametrize("name", VPC)
def test_subnets_and_security_groups_go_together(account, template, name):
    walk = Walk(account, f"Half{name}")

    with pytest.raises(Stuck, match="CreateFailed"):
        walk.create(*template, **{name: VPC[name]})


def test_a_newer_template_keeps_bucket_repository_group_and_endpoint(account, template):
    walk = Walk(account, "Older")
    walk.create(*template)
    walk.build()
    walk.deploy(walk.run())
    before = kept(account, walk)
    _, bucket, key = template
    s3 = account.client("s3")
    text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert "RetentionInDays: 90" in text
    s3.put_object(
        Bucket=bucket, Key="newer.yaml", Body=text.replace("RetentionInDays: 90", "RetentionInDays: 30").encode()
    )

    newer = {"TemplateName": "small", "TemplateURL": f"https://{bucket}.s3.us-east-1.amazonaws.com/newer.yaml"}
    walk.sagemaker.update_project(ProjectName="Older", TemplateProvidersToUpdate=[{"CfnTemplateProvider": newer}])
    walk.until(lambda: walk.status() == "UpdateCompleted", "the project to be updated")

    groups = account.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/sagemaker-{walk.id}")[
        "logGroups"
    ]
    assert {group["retentionInDays"] for group in groups} == {30}
    assert kept(account, walk) == before
    walk.deploy(walk.run())  # the same version, approved again, is still served
    walk.delete()
    assert leftovers(account, walk.id) == []


def kept(account, walk: Walk) -> dict[str, object]:
    """Return what a newer template must keep, identified by ids and times that a replacement would change."""
    bucket, endpoint = f"sagemaker-{walk.id}-111122223333", f"{walk.full_name}-staging"
    versions = account.client("s3").list_object_versions(Bucket=bucket, Prefix="runs/")["Versions"]
    repository = account.client("codecommit").get_repository(repositoryName=walk.full_name)["repositoryMetadata"]
    group = walk.sagemaker.describe_model_package_group(ModelPackageGroupName=walk.full_name)
    served = walk.sagemaker.describe_endpoint(EndpointName=endpoint)
    return {
        "versions": {version["VersionId"] for version in versions},
        "repository": repository["repositoryId"],
        "group": group["CreationTime"],
        "endpoint": (served["CreationTime"], served["EndpointConfigName"]),
    }


def test_a_boundary_bounds_what_a_project_may_do(account, template):
    walk = Walk(account, "Bounded")

    stuck = walk.whole(*template, PermissionsBoundaryArn=boundary(account, "Narrow", OPEN, NO_MODELS))

    assert stuck == "the run is Failed"


def test_data_buckets_are_readable_as_a_whole_and_inside(account, template):
    walk = Walk(account, "Reading")
    walk.create(*template, DataBucketArns="arn:aws:s3:::data-a,arn:aws:s3:::data-b")

    policy = account.client("iam").get_role_policy(RoleName=f"sagemaker-{walk.id}-pipeline", PolicyName="s3")
    statements = {statement["Sid"]: statement for statement in policy["PolicyDocument"]["Statement"]}
    assert statements["ReadDataBuckets"]["Resource"] == [
        "arn:aws:s3:::data-a", "arn:aws:s3:::data-b", "arn:aws:s3:::data-a/*", "arn:aws:s3:::data-b/*",
    ]  # fmt: skip
    walk.delete()


# Members that AWS documents for every response, although botocore's shapes do not require them.
ALWAYS = {
    "PipelineSummaries": {"CreationTime", "LastModifiedTime", "LastExecutionTime", "RoleArn"},
    "PipelineExecutionSummaries": {"StartTime", "PipelineExecutionStatus", "PipelineExecutionDisplayName"},
    "TrainingJobSummaries": {"CreationTime", "TrainingEndTime", "LastModifiedTime", "SecondaryStatus"},
    "ProcessingJobSummaries": {"CreationTime", "ProcessingEndTime", "LastModifiedTime"},
    "ModelPackageSummaryList": {"ModelPackageName", "ModelPackageArn", "CreationTime", "ModelApprovalStatus"},
}


def missing(shape: Any, value: Any, path: str) -> Iterator[str]:
    """Yield the paths of required members that a response lacks, at any depth."""
    if shape.type_name == "structure":
        yield from (f"{path}.{name}" for name in shape.required_members if name not in value)
        for name, member in value.items():
            if name in shape.members:
                yield from missing(shape.members[name], member, f"{path}.{name}")
    elif shape.type_name == "list":
        for member in value:
            yield from missing(shape.member, member, f"{path}[]")


def test_what_is_listed_and_described_has_the_members_that_aws_always_gives(account, template):
    walk = Walk(account, "Members")
    walk.create(*template)
    walk.build()
    package = walk.run()
    sagemaker, run = account.client("sagemaker"), walk.runs()[0]["PipelineExecutionArn"]
    calls = [
        (sagemaker.describe_project, {"ProjectName": "Members"}), (sagemaker.list_projects, {}),
        (sagemaker.describe_pipeline, {"PipelineName": walk.full_name}), (sagemaker.list_pipelines, {}),
        (sagemaker.list_pipeline_executions, {"PipelineName": walk.full_name}),
        (sagemaker.describe_pipeline_execution, {"PipelineExecutionArn": run}),
        (sagemaker.list_pipeline_execution_steps, {"PipelineExecutionArn": run}),
        (sagemaker.list_training_jobs, {}), (sagemaker.list_processing_jobs, {}),
        (sagemaker.describe_model_package, {"ModelPackageName": package}),
        (sagemaker.list_model_packages, {"ModelPackageGroupName": walk.full_name}),
        (sagemaker.list_model_package_groups, {}),
    ]  # fmt: skip

    lacking, seen = [], set()
    for call, parameters in calls:
        operation = sagemaker.meta.method_to_api_mapping[call.__name__]
        response = call(**parameters)
        del response["ResponseMetadata"]
        lacking += missing(sagemaker.meta.service_model.operation_model(operation).output_shape, response, operation)
        for name in ALWAYS.keys() & response.keys():
            seen.add(name)
            lacking += [f"{name}.{member}" for entry in response[name] for member in ALWAYS[name] - entry.keys()]

    assert lacking == []
    assert seen == ALWAYS.keys()
    walk.delete()
