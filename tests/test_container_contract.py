"""The container contract: what a job's process gets (/opt/ml, data, role, signals), and what happens to its output."""

import io
import itertools
import json
import socketserver
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from conftest import networks_are_permitted, wait_for

from rehearsal.scenario import ScenarioFailed, describe_interruption, wait_until

CODE = """
import contextlib, json, os, pathlib, signal, socket, sys, time
def reaches(port):
    # Whether somebody answers there: a relay takes a connection before it knows.
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=5) as opened:
        opened.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        return bool(opened.recv(1))
ml = pathlib.Path(os.environ.get("OPT_ML", "/opt/ml"))
config = ml / "input/config"
told = json.loads((config / "hyperparameters.json").read_text())
(ml / "output/data/seen.json").write_text(json.dumps({
    "pid": os.getpid(),
    "parent": os.getppid(),
    "hyperparameters": told,
    "hosts": json.loads((config / "resourceconfig.json").read_text())["hosts"],
    "resources": json.loads((config / "resourceconfig.json").read_text()),
    "host name": socket.gethostname(),
    "channels": sorted(p.name for p in (ml / "input/data").iterdir()),
    "data": sorted(str(p.relative_to(ml / "input/data/train")) for p in (ml / "input/data/train").rglob("*.txt")),
    "checkpoints": sorted(p.name for p in (ml / "checkpoints").iterdir()),
    "key": os.environ.get("AWS_ACCESS_KEY_ID", ""),
    "reached": [port for port in told.get("ports", "").split() if reaches(port)],
    "job": os.environ["TRAINING_JOB_NAME"],
}))
print("hello from the container", flush=True)
if told.get("do") == "fail":
    (ml / "output/failure").write_text("the reason of the script")
    sys.exit(3)
if told.get("do") == "wait":
    def stop(*_):
        (ml / "checkpoints/saved").write_text("on SIGTERM")
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    print("waiting", flush=True)
    time.sleep(60)
if told.get("do") == "resume":
    saved = ml / "checkpoints/saved"
    if saved.exists():
        print(f"resuming at step {saved.read_text()}", flush=True)
    else:
        print("no checkpoint: starting at step 0", flush=True)
        (ml / "scratch").write_text("on the local disk")
        def interrupt(*_):
            saved.write_text("97")
            print("interrupted: checkpoint saved at step 97", flush=True)
            sys.exit(143)
        signal.signal(signal.SIGTERM, interrupt)
        print("step 97 of 300 (32%)", flush=True)
        time.sleep(60)
    (ml / "model/disk").write_text(str((ml / "scratch").exists()))
(ml / "model/weights").write_text("trained")
"""

IN_VPC = {"VpcConfig": {"Subnets": ["subnet-00000001"], "SecurityGroupIds": ["sg-00000001"]}}
ISOLATED = {"EnableNetworkIsolation": True}


@pytest.fixture(scope="module")
def role(make_role):
    return make_role("jobs", "sagemaker", "s3:*", "ec2:*")


@pytest.fixture
def start(emulator, bucket, role):
    """Return a function that starts a training job on two small files and returns the job's name."""
    s3, sagemaker = emulator.client("s3"), emulator.client("sagemaker")
    objects = {
        "jobs/code/run.py": CODE,
        "jobs/train/a.txt": "1",
        "jobs/train/sub/b.txt": "2",
        "jobs/training2/c.txt": "3",
    }
    for key, body in objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body.encode())

    def training(
        name: str = "", spot: bool = False, network: dict | None = None, seconds: int = 100, **hyperparameters: str
    ) -> str:
        name = name or f"contract-{uuid.uuid4().hex[:8]}"

        def channel(kind: str) -> dict:
            source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/jobs/{kind}"}
            return {"ChannelName": kind, "DataSource": {"S3DataSource": source}}

        sagemaker.create_training_job(
            TrainingJobName=name,
            AlgorithmSpecification={
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/run.py"],
            },
            RoleArn=role,
            HyperParameters=hyperparameters,
            InputDataConfig=[channel("code"), channel("train")],
            OutputDataConfig={"S3OutputPath": f"s3://{bucket}/jobs/output"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": seconds} | ({"MaxWaitTimeInSeconds": 200} if spot else {}),
            EnableManagedSpotTraining=spot,
            CheckpointConfig={"S3Uri": f"s3://{bucket}/jobs/checkpoints/{name}"},
            **(network or {}),
        )
        return name

    return training


@pytest.fixture
def end_of(emulator):
    sagemaker = emulator.client("sagemaker")

    def ended(name: str) -> dict:
        def look():
            job = sagemaker.describe_training_job(TrainingJobName=name)
            return job if job["TrainingJobStatus"] not in ("InProgress", "Stopping") else None

        return wait_for(look)

    return ended


@pytest.fixture
def lines_of(emulator):
    """Return a function that returns the log lines of a job.

    It names the stream, since the emulator ignores logStreamNamePrefix.
    """
    logs = emulator.client("logs")

    def lines(name: str) -> list[str]:
        try:
            stream = [f"{name}/algo-1"]
            found = logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNames=stream)
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in found["events"]]

    return lines


@pytest.fixture
def archive_of(emulator, bucket):
    def read(name: str, archive: str) -> dict[str, bytes]:
        body = (
            emulator.client("s3").get_object(Bucket=bucket, Key=f"jobs/output/{name}/output/{archive}")["Body"].read()
        )
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}

    return read


def test_a_job_finds_its_data_and_leaves_its_model(start, end_of, archive_of):
    name = start(epochs="3")
    job = end_of(name)

    seen = json.loads(archive_of(name, "output.tar.gz")["seen.json"])
    assert job["TrainingJobStatus"] == "Completed"
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith(f"{name}/output/model.tar.gz")
    assert archive_of(name, "model.tar.gz") == {"weights": b"trained"}
    assert (seen["hyperparameters"], seen["hosts"], seen["job"]) == ({"epochs": "3"}, ["algo-1"], name)
    assert (seen["channels"], seen["data"], seen["checkpoints"]) == (["code", "train"], ["a.txt", "sub/b.txt"], [])
    assert seen["key"].startswith("ASIA")  # temporary credentials of its role, not the account's


def test_the_entrypoint_is_pid_1_where_namespaces_are_permitted(start, end_of, archive_of):
    name = start()
    end_of(name)

    seen = json.loads(archive_of(name, "output.tar.gz")["seen.json"])
    assert seen["pid"] == 1 or seen["parent"] != 0


def test_a_failure_is_told_in_the_scripts_own_words(start, end_of):
    job = end_of(start(do="fail"))

    assert (job["TrainingJobStatus"], job["FailureReason"]) == (
        "Failed",
        "AlgorithmError: the reason of the script (exit code 3)",
    )


def test_a_job_that_reaches_its_time_limit_is_stopped_and_keeps_what_it_saved(
    start, end_of, archive_of, emulator, bucket
):
    name = start(do="wait", seconds=3)

    job = end_of(name)

    saved = emulator.client("s3").get_object(Bucket=bucket, Key=f"jobs/checkpoints/{name}/saved")["Body"].read()
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert "FailureReason" not in job
    assert saved == b"on SIGTERM"
    assert archive_of(name, "model.tar.gz") == {}


@pytest.mark.parametrize("network", [{}, IN_VPC], ids=["open", "in a VPC"])
def test_a_stop_reaches_the_script_and_its_checkpoint_reaches_s3(start, end_of, lines_of, emulator, bucket, network):
    name = start(do="wait", network=network)

    wait_for(lambda: "waiting" in lines_of(name))
    emulator.client("sagemaker").stop_training_job(TrainingJobName=name)
    job = end_of(name)

    saved = emulator.client("s3").get_object(Bucket=bucket, Key=f"jobs/checkpoints/{name}/saved")["Body"].read()
    assert (job["TrainingJobStatus"], saved) == ("Stopped", b"on SIGTERM")


@pytest.fixture
def interrupted(start, end_of, emulator) -> dict:
    """Return the final DescribeTrainingJob response of a spot job that was interrupted once."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    emulator.interrupt_spot_training(name)
    return end_of(start(name, spot=True, do="resume"))


def test_an_interrupted_spot_job_goes_on_in_a_new_container_with_its_checkpoint(interrupted, archive_of, lines_of):
    name = interrupted["TrainingJobName"]
    said = lines_of(name)

    assert interrupted["TrainingJobStatus"] == "Completed"
    assert archive_of(name, "model.tar.gz") == {"disk": b"False", "weights": b"trained"}
    assert describe_interruption(said) == "SIGTERM at step 97 of 300; resumed at step 97: 0 steps lost"


def test_an_interrupted_spot_job_tells_its_statuses_and_is_billed_for_what_ran(interrupted):
    transitions = interrupted["SecondaryStatusTransitions"]

    a_container = ["Starting", "Downloading", "Training"]
    statuses = [entry["Status"] for entry in transitions]
    ran = sum(
        (entry["EndTime"] - entry["StartTime"]).total_seconds()
        for entry in transitions
        if entry["Status"] == "Training"
    )
    assert statuses == [*a_container, "Interrupted", *a_container, "Uploading", "Completed"]
    assert all(one["EndTime"] == next["StartTime"] for one, next in itertools.pairwise(transitions))
    assert abs(interrupted["TrainingTimeInSeconds"] - ran) <= 1
    assert interrupted["BillableTimeInSeconds"] <= interrupted["TrainingTimeInSeconds"]


@pytest.mark.parametrize(
    "log, said",
    [
        (
            ["no checkpoint: starting at step 0", "epoch=1.00", "resuming at step 9", "step 12 of 20 (60%)"],
            "SIGKILL after step 9 of 20; resumed at step 9: 0 steps lost",
        ),
        (
            ["no checkpoint: starting at step 0", "step 12 of 20 (60%)", "resuming at step 9"],
            "SIGKILL after step 12 of 20; resumed at step 9: 3 steps lost",
        ),
    ],
)
def test_what_an_interruption_without_a_last_checkpoint_cost_is_told(log, said):
    assert describe_interruption(log) == said


def test_a_job_that_begins_anew_after_its_interruption_fails_the_story():
    with pytest.raises(ScenarioFailed, match="found no checkpoint and began anew"):
        describe_interruption(["no checkpoint: starting at step 0"] * 2)


def test_a_job_without_data_says_which_address_is_empty(emulator, bucket, role, end_of):
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/nothing/here"}
    emulator.client("sagemaker").create_training_job(
        TrainingJobName="contract-empty",
        AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File", "ContainerEntrypoint": ["true"]},
        RoleArn=role,
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/jobs/output"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 100},
    )

    assert f"No S3 objects found under S3 URL 's3://{bucket}/nothing/here'" in end_of("contract-empty")["FailureReason"]


# --- networks ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def somebody() -> Iterator[int]:
    """Yield the port of another server on this machine, which greets everyone who connects."""

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(
    "network, reached, knows",
    [({}, "somebody and AWS", True), (IN_VPC, "AWS", True), (ISOLATED, "", False), (IN_VPC | ISOLATED, "", False)],
    ids=["open", "in a VPC", "isolated", "isolated in a VPC"],
)
def test_a_job_reaches_what_its_network_lets_it_reach(
    start, end_of, archive_of, emulator, somebody, network, reached, knows
):
    if network and not networks_are_permitted():
        pytest.skip("the kernel gives no network namespaces here")
    name = start(network=network, ports=f"{somebody} {emulator.port}")

    assert end_of(name)["TrainingJobStatus"] == "Completed"
    seen = json.loads(archive_of(name, "output.tar.gz")["seen.json"])
    named = {str(somebody): "somebody", str(emulator.port): "AWS"}
    assert " and ".join(named[port] for port in seen["reached"]) == reached
    assert bool(seen["key"]) is knows


@pytest.mark.parametrize(
    "subnet, group, refused",
    [
        ("subnet-0000000a", "sg-00000001", "There is no subnet-0000000a."),
        ("subnet-00000001", "sg-0000000a", "There is no sg-0000000a."),
    ],
)
def test_a_job_joins_no_subnet_and_no_group_that_is_not_there(start, subnet, group, refused):
    with pytest.raises(ClientError, match=refused):
        start(network={"VpcConfig": {"Subnets": [subnet], "SecurityGroupIds": [group]}})


def test_a_job_is_in_one_vpc(start, emulator):
    ec2 = emulator.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    elsewhere = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]

    with pytest.raises(ClientError, match="Subnets and security groups are in several VPCs"):
        start(network={"VpcConfig": {"Subnets": [elsewhere], "SecurityGroupIds": ["sg-00000001"]}})


def test_a_job_reads_what_sagemaker_says_of_its_hosts_and_its_host_is_called_aws(start, end_of, archive_of):
    name = start()
    end_of(name)

    saw = json.loads(archive_of(name, "output.tar.gz")["seen.json"])
    assert saw["host name"] == "aws"
    assert saw["resources"] == {
        "current_host": "algo-1",
        "current_instance_type": "ml.m5.large",
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.large", "hosts": ["algo-1"]}
        ],
        "network_interface_name": "lo",
    }


PROCESSING = """
import json, os, pathlib
ml = pathlib.Path(os.environ.get("OPT_ML", "/opt/ml"))
config = {name: json.loads((ml / f"config/{name}.json").read_text()) for name in ("resourceconfig", "processingjobconfig")}
(ml / "processing/out/config.json").write_text(json.dumps(config))
"""


def processing(bucket: str, role: str, count: int) -> dict:
    """Return the request of a processing job on `count` instances that stores its configuration."""
    code = {"S3Uri": f"s3://{bucket}/jobs/configured", "LocalPath": "/opt/ml/processing/code", "S3DataType": "S3Prefix"}
    out = {
        "S3Uri": f"s3://{bucket}/jobs/configuration",
        "LocalPath": "/opt/ml/processing/out",
        "S3UploadMode": "EndOfJob",
    }
    cluster = {"InstanceCount": count, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    return {
        "ProcessingJobName": f"configured-{uuid.uuid4().hex[:8]}",
        "RoleArn": role,
        "AppSpecification": {"ImageUri": "image", "ContainerEntrypoint": ["python3", "/opt/ml/processing/code/run.py"]},
        "ProcessingInputs": [{"InputName": "code", "S3Input": {**code, "S3InputMode": "File"}}],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "out", "S3Output": out}]},
        "ProcessingResources": {"ClusterConfig": cluster},
    }


def test_a_processing_job_reads_its_hosts_and_its_own_request(emulator, bucket, make_role):
    sagemaker, s3 = emulator.client("sagemaker"), emulator.client("s3")
    s3.put_object(Bucket=bucket, Key="jobs/configured/run.py", Body=PROCESSING.encode())
    request = processing(bucket, make_role("configured", "sagemaker", "s3:*"), 1)
    sagemaker.create_processing_job(**request)

    def ended() -> dict | None:
        job = sagemaker.describe_processing_job(ProcessingJobName=request["ProcessingJobName"])
        return job if job["ProcessingJobStatus"] != "InProgress" else None

    assert wait_for(ended)["ProcessingJobStatus"] == "Completed"
    config = json.loads(s3.get_object(Bucket=bucket, Key="jobs/configuration/config.json")["Body"].read())
    assert config["resourceconfig"]["current_host"] == "algo-1"
    assert config["processingjobconfig"] == request


HOSTS = """
import json, os, pathlib, socket, sys, time
ml = pathlib.Path("/opt/ml")
resources = json.loads((ml / "input/config/resourceconfig.json").read_text())
hosts, current = resources["hosts"], resources["current_host"]
told = json.loads((ml / "input/config/hyperparameters.json").read_text())
if told.get("fails") == current:
    (ml / "output/failure").write_text(f"{current} has had enough")
    sys.exit(4)
if "fails" in told:
    time.sleep(60)
if current == hosts[0]:
    with socket.create_server((current, 7777)) as server:
        said = [server.accept()[0].makefile().read() for _ in hosts[1:]]
else:
    while True:
        try:
            with socket.create_connection((hosts[0], 7777), timeout=5) as opened:
                opened.sendall(f"{current} at {opened.getsockname()[0]}".encode())
            break
        except OSError:
            time.sleep(0.1)
    said = []
seen = {
    "said": said,
    "interfaces": sorted(name for _, name in socket.if_nameindex()),
    "interface": resources["network_interface_name"],
    "host name": socket.gethostname(),
    "data": sorted(path.name for path in (ml / "input/data/train").rglob("*.txt")),
    "code": sorted(path.name for path in (ml / "input/data/code").iterdir()),
}
(ml / f"output/data/{current}.json").write_text(json.dumps(seen))
(ml / "model" / (told.get("model") or current)).write_text("weights")
"""


@pytest.fixture
def start_on_two(emulator, bucket, role):
    """Return a function that starts a training job on two instances, with sharded data, and returns its name."""
    if not networks_are_permitted():
        pytest.skip("the kernel gives no network namespaces here")
    s3, sagemaker = emulator.client("s3"), emulator.client("sagemaker")
    s3.put_object(Bucket=bucket, Key="jobs/hosts/run.py", Body=HOSTS.encode())
    for name in "abc":
        s3.put_object(Bucket=bucket, Key=f"jobs/divided/{name}.txt", Body=name.encode())

    def channel(name: str, prefix: str, distribution: str) -> dict:
        source = {
            "S3DataType": "S3Prefix",
            "S3Uri": f"s3://{bucket}/jobs/{prefix}",
            "S3DataDistributionType": distribution,
        }
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}}

    def training(network: dict | None = None, **hyperparameters: str) -> str:
        name = f"two-{uuid.uuid4().hex[:8]}"
        sagemaker.create_training_job(
            TrainingJobName=name,
            AlgorithmSpecification={
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/run.py"],
            },
            RoleArn=role,
            HyperParameters=hyperparameters,
            InputDataConfig=[
                channel("code", "hosts", "FullyReplicated"),
                channel("train", "divided", "ShardedByS3Key"),
            ],
            OutputDataConfig={"S3OutputPath": f"s3://{bucket}/jobs/output"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 100},
            **(network or {}),
        )
        return name

    return training


@pytest.mark.parametrize("network", [{}, IN_VPC, ISOLATED], ids=["open", "in a VPC", "isolated"])
def test_two_instances_meet_by_their_names_and_divide_the_data(start_on_two, end_of, archive_of, network):
    name = start_on_two(network)

    job = end_of(name)
    assert job["TrainingJobStatus"] == "Completed", job
    outputs = archive_of(name, "output.tar.gz")
    first, second = (json.loads(outputs[f"algo-{number}.json"]) for number in (1, 2))
    assert first.pop("said") == ["algo-2 at 10.0.0.2"]
    assert second.pop("said") == []
    assert (first.pop("data"), second.pop("data")) == (["a.txt", "c.txt"], ["b.txt"])
    assert (
        first
        == second
        == {
            "interfaces": ["eth0", "lo"],
            "interface": "eth0",
            "host name": "aws",
            "code": ["run.py"],
        }
    )
    assert set(archive_of(name, "model.tar.gz")) == {"algo-1", "algo-2"}


def test_a_job_fails_with_the_instance_that_fails_first(start_on_two, end_of):
    job = end_of(start_on_two(fails="algo-2"))

    assert job["FailureReason"] == "AlgorithmError: algo-2 has had enough (exit code 4)"


def test_a_file_of_the_model_that_both_instances_write_fails_the_job(start_on_two, end_of):
    job = end_of(start_on_two(model="weights"))

    assert "several instances wrote weights: AWS keeps one of them" in job["FailureReason"]


def test_both_instances_are_in_a_processing_jobs_configuration(emulator, bucket, role):
    if not networks_are_permitted():
        pytest.skip("the kernel gives no network namespaces here")
    sagemaker, s3 = emulator.client("sagemaker"), emulator.client("s3")
    name = "f\"processing/out/{config['resourceconfig']['current_host']}\""
    mine = PROCESSING.replace('"processing/out/config.json"', name)
    s3.put_object(Bucket=bucket, Key="jobs/configured/run.py", Body=mine.encode())
    request = processing(bucket, role, 2)
    sagemaker.create_processing_job(**request)

    def ended() -> dict | None:
        job = sagemaker.describe_processing_job(ProcessingJobName=request["ProcessingJobName"])
        return job if job["ProcessingJobStatus"] != "InProgress" else None

    assert wait_for(ended)["ProcessingJobStatus"] == "Completed", ended()
    for host in ("algo-1", "algo-2"):
        config = json.loads(s3.get_object(Bucket=bucket, Key=f"jobs/configuration/{host}")["Body"].read())
        assert config["resourceconfig"]["current_host"] == host
        assert config["resourceconfig"]["hosts"] == ["algo-1", "algo-2"]


@pytest.mark.parametrize("count", [9, 100])
def test_a_job_on_more_instances_than_this_machine_plays_is_refused(emulator, bucket, role, count):
    with pytest.raises(ClientError, match=f"a job on {count} instances: set its InstanceCount to 1 to 8"):
        emulator.client("sagemaker").create_processing_job(**processing(bucket, role, count))


@pytest.mark.parametrize("moves", [True, False])
def test_the_rehearsal_waits_as_long_as_a_run_makes_progress(moves):
    calls = itertools.count()

    def look() -> bool:
        return next(calls) == 4  # after four polls, far beyond the limit

    if moves:
        assert wait_until(look, "the run", seconds=0.1, progress=time.monotonic)
    else:
        with pytest.raises(ScenarioFailed, match="gave up waiting for the run"):
            wait_until(look, "the run", seconds=0.1, progress=lambda: "step 7")
