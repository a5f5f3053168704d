"""The emulator serves only the user of the rehearsal: no web page, no other host name, nobody without its keys."""

import gzip
import http.client
import os
import re
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from rehearsal.server import ACCOUNT, REGION, Emulator

WHO_AM_I = b"Action=GetCallerIdentity&Version=2011-06-15"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
Response = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def send(emulator) -> Callable[..., Response]:
    """Return a function that sends a request unchanged: send(method, path, body, headers)."""

    def send(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=30)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        found = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        connection.close()
        return found

    return send


def signed(
    emulator: Emulator,
    service: str,
    body: bytes,
    headers: dict[str, str],
    path: str = "/",
    method: str = "POST",
    key: str = ACCOUNT,
    secret: str = "",
) -> dict[str, str]:
    """Return the headers of a request, signed (SigV4) with the root key or the given one."""
    request = AWSRequest(method, emulator.endpoint + path, data=body, headers=headers)
    SigV4Auth(Credentials(key, secret or emulator.secret), service, REGION).add_auth(request)
    return dict(request.headers)


def code_of(response: Response) -> str:
    """Return the error code of a response, in XML or JSON, or an empty string."""
    found = re.search(rb"<Code>([^<]+)</Code>|\"__type\": \"([^\"]+)\"", response[2])
    return (found.group(1) or found.group(2)).decode() if found else ""


def test_a_signed_request_is_served(emulator, send):
    status, headers, body = send("POST", "/", WHO_AM_I, signed(emulator, "sts", WHO_AM_I, FORM))

    assert (status, b":root" in body) == (200, True)
    assert [name for name in headers if name.startswith("access-control")] == []


@pytest.mark.parametrize(
    "change",
    [
        {"Host": "rebound.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "bucket.localhost:{port}"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8888"},
        {"Origin": "http://127.0.0.1:{port}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_host_and_another_page_are_refused_though_they_have_a_key(emulator, send, change):
    change = {name: value.format(port=emulator.port) for name, value in change.items()}
    headers = signed(emulator, "sts", WHO_AM_I, {**FORM, **({"Host": change["Host"]} if "Host" in change else {})})

    response = send("POST", "/", WHO_AM_I, {**headers, **change})

    assert (response[0], code_of(response)) == (403, "AccessDenied")


@pytest.mark.parametrize("key", ["test", "999999999999", "000000000000", "AKIAWRONGWRONGWRONG0", ""])
def test_other_keys_are_nobodys(emulator, send, key):
    headers = signed(emulator, "sts", WHO_AM_I, FORM, key=key)

    assert send("POST", "/", WHO_AM_I, headers)[0] == 403


@pytest.mark.parametrize(
    "service, code, status", [("sts", "SignatureDoesNotMatch", 403), ("sagemaker", "InvalidSignatureException", 400)]
)
def test_the_root_key_needs_its_secret(emulator, send, service, code, status):
    headers = (
        FORM
        if service == "sts"
        else {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "SageMaker.ListProjects"}
    )
    body = WHO_AM_I if service == "sts" else b"{}"

    response = send("POST", "/", body, signed(emulator, service, body, headers, secret="guessed"))

    assert (response[0], code_of(response)) == (status, code)


def test_a_signature_is_of_one_body(emulator, send):
    response = send("POST", "/", WHO_AM_I.replace(b"Get", b"got"), signed(emulator, "sts", WHO_AM_I, FORM))

    assert code_of(response) == "SignatureDoesNotMatch"


def test_a_body_that_was_hashed_is_that_body(emulator, send):
    headers = signed(emulator, "s3", b"one", {"X-Amz-Content-SHA256": "0" * 64}, "/bucket/key", "PUT")

    assert code_of(send("PUT", "/bucket/key", b"two", headers)) == "XAmzContentSHA256Mismatch"


def test_an_old_signature_is_refused(emulator, send):
    headers = signed(emulator, "sts", WHO_AM_I, FORM) | {"X-Amz-Date": "20200101T000000Z"}

    assert send("POST", "/", WHO_AM_I, headers)[0] == 403


UNSIGNED = [
    ("POST", "/", WHO_AM_I),
    ("POST", "/", b"Action=CreateStack&StackName=x"),
    ("GET", "/", b""),
    ("GET", "/a-bucket/a-key", b""),
    ("PUT", "/a-bucket/a-key", b"x"),
    ("OPTIONS", "/", b""),
    ("OPTIONS", "/a-bucket/a-key", b""),
    ("POST", "/2015-03-31/functions/any/invocations", b"{}"),
    ("POST", "/endpoints/any/invocations", b"{}"),
    ("GET", "/v1/repos/any/info/refs?service=git-upload-pack", b""),
    ("POST", "/rehearsal/spot-interruptions", b'{"NameContains": "x"}'),
    ("GET", "/.well-known/openid-configuration", b""),
    ("GET", "/oauth2/authorize", b""),
    ("GET", "/v2/", b""),
    ("GET", "/iceberg/v1/config", b""),
    ("GET", "/health", b""),
    ("GET", "/_localstack/health", b""),
    ("GET", "/_ministack/health", b""),
    ("GET", "/_ministack/ready", b""),
    ("POST", "/_ministack/reset", b""),
    ("POST", "/_ministack/config", b'{"lambda_svc.LAMBDA_EXECUTOR": "local"}'),
    ("GET", "/_ministack/sqs/messages", b""),
    ("GET", "/_ministack/ses/messages", b""),
    ("GET", "/_ministack/iot/ca.pem", b""),
    ("POST", "/_ministack/eks-auth/any", b"{}"),
    ("PUT", "/_ministack/cfn-response/guessed", b'{"Status": "SUCCESS"}'),
    ("PUT", "/_ministack/cfn-signal/guessed", b"{}"),
    ("GET", "/_aws/execute-api/any/stage", b""),
]


@pytest.mark.parametrize("method, path, body", UNSIGNED)
def test_nothing_is_served_without_a_signature(send, method, path, body):
    status, headers, _ = send(method, path, body)

    assert status in (400, 401, 403, 404)
    assert [name for name in headers if name.startswith("access-control")] == []


def test_a_presigned_address_is_served_and_no_other_key_of_the_same_bucket(emulator, send, bucket):
    s3 = emulator.client("s3", config=Config(signature_version="s3v4"))
    s3.put_object(Bucket=bucket, Key="shared", Body=b"content")
    address = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "shared"}, ExpiresIn=60)
    path = address.removeprefix(emulator.endpoint)

    assert send("GET", path)[::2] == (200, b"content")
    assert send("GET", path.replace("/shared", "/other"))[0] == 403
    assert send("DELETE", path)[0] == 403


def test_an_address_presigned_by_the_old_version_is_refused_as_aws_does_for_new_buckets(emulator, send, bucket):
    s3 = emulator.client("s3", config=Config(signature_version="s3"))
    address = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "shared"}, ExpiresIn=60)

    assert code_of(send("GET", address.removeprefix(emulator.endpoint))) == "InvalidRequest"


def test_a_presigned_address_ends(emulator, send):
    request = AWSRequest("GET", f"{emulator.endpoint}/any/key", headers={"Host": f"127.0.0.1:{emulator.port}"})
    auth = SigV4QueryAuth(Credentials(ACCOUNT, emulator.secret), "s3", REGION, expires=-1)
    auth.add_auth(request)

    assert send("GET", request.url.removeprefix(emulator.endpoint))[0] == 403


@pytest.mark.parametrize("origin, status", [("https://notes.example", 200), ("https://evil.example", 403)])
def test_a_buckets_own_configuration_lets_pages_in_and_no_others(emulator, send, bucket, origin, status):
    s3 = emulator.client("s3", config=Config(signature_version="s3v4"))
    s3.put_object(Bucket=bucket, Key="page", Body=b"content")
    rule = {"AllowedOrigins": ["https://notes.example"], "AllowedMethods": ["GET"]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    address = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "page"}, ExpiresIn=60)
    asked = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}

    got = send("GET", address.removeprefix(emulator.endpoint), headers=asked)
    preflight = send("OPTIONS", f"/{bucket}/page", headers={**asked, "Access-Control-Request-Method": "GET"})

    assert (got[0], preflight[0]) == (status, status)
    allowed = {got[1].get("access-control-allow-origin"), preflight[1].get("access-control-allow-origin")}
    assert allowed == ({origin} if status == 200 else {None})
    s3.delete_bucket_cors(Bucket=bucket)


# --- the emulator's own route ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"5",
        b"null",
        b"[]",
        b"{}",
        b'{"NameContains": 5}',
        b'{"NameContains": null}',
        b'{"NameContains": ""}',
        b"\xff",
    ],
)
def test_a_wrong_wish_for_an_interruption_is_refused(emulator, send, body):
    path = "/rehearsal/spot-interruptions"

    assert send("POST", path, body, signed(emulator, "rehearsal", body, {}, path))[0] == 400


def test_a_role_may_not_ask_the_emulator_itself(emulator, send, make_role, as_role):
    role = as_role(make_role("asks-the-emulator", "sagemaker", "*"))
    request = AWSRequest("POST", f"{emulator.endpoint}/rehearsal/spot-interruptions", data=b'{"NameContains": "x"}')
    keys = (role["aws_access_key_id"], role["aws_secret_access_key"], role["aws_session_token"])
    SigV4Auth(Credentials(*keys), "rehearsal", REGION).add_auth(request)

    assert send("POST", "/rehearsal/spot-interruptions", b'{"NameContains": "x"}', dict(request.headers))[0] == 403


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_a_body_that_unpacks_to_much_is_refused(emulator, send):
    bomb = gzip.compress(b" " * 200_000_000)
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "SageMaker.ListProjects",
        "Content-Encoding": "gzip",
    }

    response = send("POST", "/", bomb, signed(emulator, "sagemaker", bomb, headers))

    assert (response[0], code_of(response)) == (413, "RequestEntityTooLargeException")


def test_a_packed_body_is_served(emulator, send):
    body = gzip.compress(b"{}")
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "CodeCommit_20150413.ListRepositories",
        "Content-Encoding": "gzip",
    }

    assert send("POST", "/", body, signed(emulator, "codecommit", body, headers))[0] == 200


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(b"{}", mtime=0)[:-4], zlib.compress(b"{}")], ids=["no gzip", "cut short", "zlib"]
)
def test_a_body_that_is_no_gzip_is_refused(emulator, send, body):
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "SageMaker.ListProjects",
        "Content-Encoding": "gzip",
    }

    response = send("POST", "/", body, signed(emulator, "sagemaker", body, headers))

    assert (response[0], code_of(response)) == (400, "SerializationException")


def test_a_long_body_is_refused_before_it_is_read(emulator):
    body = b"{}"
    headers = signed(
        emulator,
        "sagemaker",
        body,
        {"X-Amz-Target": "SageMaker.ListProjects", "Content-Type": "application/x-amz-json-1.1"},
    )
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=30)
    connection.putrequest("POST", "/")
    for name, value in {**headers, "Content-Length": str(10**9)}.items():
        connection.putheader(name, value)
    connection.endheaders(b"{")

    assert connection.getresponse().status == 413
    connection.close()


# --- only on this machine -------------------------------------------------------------------------------------------


def test_every_socket_listens_on_the_loopback_interface(emulator):
    """Check the emulator and what it started: its process group, and processes whose command line has its folder."""
    inodes = {inode for pid in processes_of(emulator) for inode in sockets_of(pid)}

    listening = [address for inode, address in listening_sockets() if inode in inodes]

    assert f"127.0.0.1:{emulator.port}" in listening
    assert [address for address in listening if not address.startswith(("127.", "[::1]"))] == []


def processes_of(emulator: Emulator) -> list[int]:
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,pgid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(pid) for pid, group, *args in rows if int(group) == emulator.pid or emulator.folder in " ".join(args)]


def sockets_of(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))
        except OSError:
            continue  # closed in the meantime
    return found


def listening_sockets() -> list[tuple[str, str]]:
    """Return (inode, address) of every listening TCP socket and every bound UDP socket, IPv4 and IPv6."""
    found = []
    # The state of a socket in /proc/net: 0A is TCP_LISTEN, 07 an unconnected UDP socket.
    for kind, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            host, port = fields[1].split(":")
            if fields[3] == state:
                found.append((fields[9], f"{readable(host)}:{int(port, 16)}"))
    return found


def readable(host: str) -> str:
    """Return an address of /proc/net as text. The file has it in hexadecimal, as little-endian words of 32 bits."""
    words = [bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8)]
    if len(words) == 1:
        return ".".join(map(str, words[0]))
    return "[::1]" if b"".join(words) == b"\0" * 15 + b"\1" else f"[{b''.join(words).hex()}]"
