"""The emulator refuses what it does not emulate, what the service model forbids, and what IAM does not allow."""

import json

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

ACCOUNT = "111122223333"


def refusal(call, **parameters) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def unchecked(emulator, service: str, credentials: dict | None = None):
    """Return a client that does not validate parameters."""
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=emulator.endpoint,
        config=Config(parameter_validation=False),
        **(credentials or emulator.credentials()),
    )


@pytest.mark.parametrize(
    "service, operation, name",
    [
        ("sagemaker", "create_labeling_job", "CreateLabelingJob"),
        ("sagemaker", "create_endpoint", "CreateEndpoint"),
        ("sagemaker", "list_clusters", "ListClusters"),
        ("servicecatalog", "provision_product", "ProvisionProduct"),
        ("codecommit", "merge_branches_by_squash", "MergeBranchesBySquash"),
    ],
)
def test_what_is_not_played_is_refused_by_name(emulator, service, operation, name):
    code, message = refusal(getattr(unchecked(emulator, service), operation))

    assert (code, message) == ("UnsupportedOperation", f"The emulator does not support {service}:{name}.")


def test_a_project_name_that_sagemaker_refuses_is_refused(emulator):
    provider = {"CfnTemplateProvider": {"TemplateName": "t", "TemplateURL": "https://b.s3.amazonaws.com/t"}}

    code, message = refusal(
        unchecked(emulator, "sagemaker").create_project, ProjectName="my_project", TemplateProviders=[provider]
    )

    assert code == "ValidationException"
    assert "Value 'my_project' at 'ProjectName' failed to satisfy constraint" in message


def test_a_member_that_the_model_does_not_have_is_refused(emulator):
    request = AWSRequest(
        method="POST",
        url=emulator.endpoint,
        data=json.dumps({"NameContain": "x"}),
        headers={"X-Amz-Target": "SageMaker.ListProjects", "Content-Type": "application/x-amz-json-1.1"},
    )
    keys = emulator.credentials()
    credentials = Credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"])
    SigV4Auth(credentials, "sagemaker", "us-east-1").add_auth(request)

    answer = URLLib3Session().send(request.prepare())

    said = json.loads(answer.content)
    assert (answer.status_code, said["__type"]) == (400, "ValidationException")
    assert said["message"].startswith('Unknown parameter in input: "NameContain", must be one of:')


def test_a_definition_that_is_no_json_is_refused(emulator, make_role):
    role = make_role("pipeline-of-refusals", "sagemaker")

    code, message = refusal(
        emulator.client("sagemaker").create_pipeline,
        PipelineName="refused",
        PipelineDefinition="{",
        RoleArn=role,
        ClientRequestToken="x" * 32,
    )

    assert (code, "Unable to parse pipeline definition" in message) == ("ValidationException", True)


def test_a_role_without_the_action_is_denied(emulator, make_role, as_role):
    nobody = as_role(make_role("nobody", "sagemaker"))

    code, message = refusal(emulator.client("sagemaker", nobody).list_projects)

    assert code == "AccessDeniedException"
    assert "assumed-role/nobody/test is not authorized to perform: sagemaker:ListProjects" in message


def test_a_role_can_only_be_handed_on_by_who_may(emulator, make_role, as_role):
    role = make_role("handed-on", "sagemaker")
    without_pass = as_role(make_role("without-pass", "sagemaker", "sagemaker:*"))

    code, message = refusal(
        emulator.client("sagemaker", without_pass).create_pipeline,
        PipelineName="not-allowed",
        PipelineDefinition=json.dumps({"Steps": []}),
        RoleArn=role,
        ClientRequestToken="x" * 32,
    )

    assert (code, message.endswith(f"iam:PassRole on resource: {role}")) == ("AccessDeniedException", True)


def test_a_wrong_secret_is_refused(emulator, make_role, as_role):
    wrong = {**as_role(make_role("wrong-secret", "sagemaker", "sagemaker:*")), "aws_secret_access_key": "wrong"}

    code, _ = refusal(emulator.client("sagemaker", wrong).list_projects)

    assert code in ("InvalidSignatureException", "SignatureDoesNotMatch")


def test_unknown_things_are_not_found(emulator):
    sagemaker = emulator.client("sagemaker")

    assert refusal(sagemaker.describe_pipeline, PipelineName="none")[0] == "ResourceNotFound"
    assert refusal(sagemaker.describe_project, ProjectName="none")[0] == "ValidationException"
    assert refusal(emulator.client("codecommit").get_repository, repositoryName="none")[0] == (
        "RepositoryDoesNotExistException"
    )


def test_pipeline_parameters_are_checked_before_anything_runs(emulator, make_role):
    sagemaker = emulator.client("sagemaker")
    step = {"Name": "Fail", "Type": "Fail", "Arguments": {"ErrorMessage": "x"}}
    declared = [{"Name": "Epochs", "Type": "Integer", "DefaultValue": 3}]
    sagemaker.create_pipeline(
        PipelineName="parameters",
        PipelineDefinition=json.dumps({"Parameters": declared, "Steps": [step]}),
        RoleArn=make_role("pipeline-of-parameters", "sagemaker"),
        ClientRequestToken="x" * 32,
    )

    for given, said in (("Epoch", "Unknown parameters: Epoch. Declared: Epochs."), ("Epochs", "not of type Integer")):
        parameters = [{"Name": given, "Value": "many"}]
        _, message = refusal(
            sagemaker.start_pipeline_execution, PipelineName="parameters", PipelineParameters=parameters
        )
        assert said in message
