"""Check every request before it reaches a service: only this rehearsal's user, on this machine, may send one.

The emulator runs code with its user's rights. So a request is refused before its body is parsed if it names another
host (DNS rebinding), comes from a web page of another origin, or is not signed with a key of this rehearsal. Bodies are
read and unpacked within size limits, and unpacked off the event loop.
"""

import asyncio
import hashlib
import json
import logging
import re
import traceback
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

from rehearsal.aws import adapter, shapes
from rehearsal.aws.adapter import Application, BadSignature, Signature

logger = logging.getLogger("rehearsal")

Receive = Callable[[], Awaitable[dict[str, Any]]]
MEBIBYTE = 2**20
# Body limits in bytes, by the beginning of the path (the first match counts), else by the service that is signed for.
# docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints.html
PATH_LIMITS = (("/2015-03-31/functions/", 6 * MEBIBYTE), ("/2015-03-31/functions", 70 * MEBIBYTE))
SERVICE_LIMITS = {"s3": 5 * 1024 * MEBIBYTE, "sagemaker": 25 * MEBIBYTE}
OTHER_LIMIT = 6 * MEBIBYTE
RESPONSE_LIMIT = 65_536  # bytes of a custom resource's response
IDLE_SECONDS = 60
MAX_DEPTH = 100
RESPONSES = "/_ministack/cfn-response/"
# ministack's own endpoints, which are not AWS APIs. They are closed, except to custom resources' responses.
CLOSED = re.compile(r"/(_ministack|_localstack|_aws|health)(/|$)")
JSON_TYPES = ("application/x-amz-json-1.0", "application/x-amz-json-1.1", "application/json")


class Refused(Exception):
    """Raised for a request that is refused, with AWS's error code and message, and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 403):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Request:
    """A request without its body. Raises Refused for headers, a path or a query string that are not UTF-8."""

    def __init__(self, scope: dict[str, Any]):
        self.method, self.path = scope["method"], scope["path"]
        self.raw_path = (scope.get("raw_path") or quote(self.path).encode()).decode("latin-1")
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), text_of(raw_value, raw_name.decode("latin-1"))
            self.headers[name] = f"{self.headers[name]},{value}" if name in self.headers else value
        self.query_string = text_of(scope.get("query_string", b""), "query string")
        self.query = parse_qs(self.query_string, keep_blank_values=True)
        if "\N{REPLACEMENT CHARACTER}" in self.path:
            raise Refused("InvalidRequest", "The path is not UTF-8.", 400)

    def limit(self, service: str) -> int:
        return next(
            (most for start, most in PATH_LIMITS if self.path.startswith(start)),
            SERVICE_LIMITS.get(service, OTHER_LIMIT),
        )


def text_of(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Refused("InvalidRequest", f"The {name} is not UTF-8.", 400) from error


def gate(
    application: Application, port: int, own: Callable[[Request, Signature | None, bytes, Receive], Awaitable[Any]]
) -> Application:
    """Wrap an ASGI application so that only requests of this rehearsal's user reach it.

    `own` serves what is not an AWS API: it returns status, headers and body, or None to leave the request to AWS's.
    """

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await application(scope, receive, send)
            return
        if scope["type"] != "http":  # a web page may open a WebSocket to any origin; none of our services uses one
            await receive()
            await send({"type": f"{scope['type']}.close", "code": 1008})
            return
        request: Request | None = None
        try:
            request = Request(scope)
            check_sender(request, port)
            signature, body = await authenticate(request, receive)
            response = await own(request, signature, body, receive)
            if response is None:
                await application(scope, replay(body), closed_to_pages(send, signature))
            else:
                await respond(send, *response)
        except Refused as refused:
            await respond(send, *error_response(request, refused))
        except BadSignature as bad:
            await respond(send, *error_response(request, of_signature(bad, request)))
        except ConnectionError:  # the client has disconnected
            return
        except Exception as error:
            logger.error("%s %s: %s", scope["method"], scope["path"], traceback.format_exc())
            await respond(
                send, *error_response(request, Refused("InternalFailure", f"The emulator failed: {error}", 500))
            )

    return serve


# --- sender ---------------------------------------------------------------------------------------------------------


def check_sender(request: Request, port: int) -> None:
    """Raise Refused for a Host header with another name, a web page of another origin, and a closed path."""
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
    if request.headers.get("host") not in hosts:
        raise Refused("AccessDenied", f"This is {hosts[0]}, and the request is for {request.headers.get('host')!r}.")
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    is_foreign = origin is not None and (urlsplit(origin).scheme, urlsplit(origin).netloc) not in [
        ("http", h) for h in hosts
    ]
    if (is_foreign or site not in ("none", "same-origin")) and not allowed_by_bucket(request):
        raise Refused("AccessDenied", f"A web page of {origin or 'another site'} may not send requests here.")
    if CLOSED.match(request.path) and not is_response(request):
        raise Refused("AccessDenied", f"{request.path} is not open.", 404)


def allowed_by_bucket(request: Request) -> bool:
    """Return whether the CORS configuration of the requested bucket allows the request's origin."""
    return "origin" in request.headers and adapter.bucket_allows_origin(request.method, request.path, request.headers)


def is_response(request: Request) -> bool:
    """Return whether it is a custom resource's response: its path has a token that only the resource's function got."""
    token = request.path.removeprefix(RESPONSES)
    return request.path.startswith(RESPONSES) and request.method == "PUT" and adapter.awaits_response(token)


# --- signature and body ---------------------------------------------------------------------------------------------


async def authenticate(request: Request, receive: Any) -> tuple[Signature | None, bytes]:
    """Check a request's signature and read its body. Raises BadSignature or Refused.

    Three kinds of request need no AWS signature: a custom resource's response; git, whose password is a signature that
    codecommit.py checks before it does anything; and a CORS preflight for a bucket that allows the page.
    """
    if is_response(request):
        return None, await read(request, receive, RESPONSE_LIMIT)
    if request.path.startswith("/v1/repos/"):
        return None, b""  # front.py reads the body after it has authorized the request
    if request.method == "OPTIONS" and allowed_by_bucket(request):
        return None, b""
    signature = Signature(request.method, request.raw_path, request.query, request.headers)
    # Verify before the body is read if a header has the body's hash, else after; the hash itself is checked below.
    if not signature.waits_for_body:
        signature.verify()
    if signature.service == "s3" and (problem := shapes.s3_problem(request.query)):
        raise Refused("InvalidArgument", problem, 400)
    body = await read(request, receive, request.limit(signature.service))
    if signature.waits_for_body:
        signature.verify(body)
    elif re.fullmatch("[0-9a-f]{64}", signature.payload_hash):
        await check_hash(signature, body)
    if signature.service != "s3":
        await check_content(request, signature.service, body, request.limit(signature.service))
    return signature, body


async def read(request: Request, receive: Any, limit: int) -> bytes:
    """Return a request's body of at most `limit` bytes.

    Raises Refused for a longer one, or if no part arrives for IDLE_SECONDS; ConnectionError if the client disconnects.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit:
        raise Refused("RequestEntityTooLargeException", f"The body has {declared} bytes, more than {limit}.", 413)
    parts, size, more = [], 0, True
    while more:
        try:
            message = await asyncio.wait_for(receive(), IDLE_SECONDS)
        except TimeoutError:
            raise Refused("RequestTimeout", f"Nothing of the body came for {IDLE_SECONDS} s.", 408) from None
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client is gone")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise Refused("RequestEntityTooLargeException", f"The body has more than {limit} bytes.", 413)
        more = message.get("more_body", False)
    return b"".join(parts)


async def check_hash(signature: Signature, body: bytes) -> None:
    """Raise Refused if the body is not the one that was signed."""
    hashed = hashlib.sha256(body) if len(body) < MEBIBYTE else await asyncio.to_thread(hashlib.sha256, body)
    if hashed.hexdigest() != signature.payload_hash:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise Refused("XAmzContentSHA256Mismatch", message, 400)


async def check_content(request: Request, service: str, body: bytes, limit: int) -> None:
    """Raise Refused for a body that unpacks to more than `limit` bytes, or does not fit its operation."""
    if encoding := request.headers.get("content-encoding", "").strip().lower():
        body = await asyncio.to_thread(unpack, body, encoding, limit)
    content_type = request.headers.get("content-type", "").split(";")[0].strip()
    if request.path.startswith("/endpoints/"):  # a model defines its own payload
        return
    if content_type in JSON_TYPES:
        call = (check_json, body, service, request.headers.get("x-amz-target"))
        await asyncio.to_thread(*call) if len(body) > 65_536 else call[0](*call[1:])
    elif content_type == "application/x-www-form-urlencoded" and (problem := shapes.form_problem(service, body)):
        raise Refused("ValidationError", problem, 400)


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """Unpack gzip to at most `limit` bytes. Raises Refused for more, and for content that is not complete gzip."""
    if encoding not in ("gzip", "x-gzip"):
        raise Refused("UnsupportedMediaTypeException", f"Content-Encoding {encoding!r} is not emulated.", 415)
    unpacker = zlib.decompressobj(wbits=31)  # gzip with the largest window
    try:
        content = unpacker.decompress(body, limit)
    except zlib.error as error:
        raise Refused("SerializationException", f"The body is not gzip: {error}.", 400) from error
    if unpacker.unconsumed_tail:
        raise Refused("RequestEntityTooLargeException", f"The body unpacks to more than {limit} bytes.", 413)
    if not unpacker.eof:
        raise Refused("SerializationException", "The body's gzip ends too early.", 400)
    return content


def check_json(body: bytes, service: str, target: str | None) -> None:
    """Raise Refused for a body that is not JSON, is nested too deep, or does not fit its operation."""
    try:
        value = json.loads(body or b"{}")
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Refused("SerializationException", f"The body is not JSON: {error}", 400) from error
    except RecursionError:
        raise Refused("SerializationException", f"The body is nested more than {MAX_DEPTH} levels deep.", 400) from None
    if target and not isinstance(value, dict):
        raise Refused("SerializationException", "Start of structure or map found where not expected.", 400)
    level, members = 0, [value]
    while members:  # breadth first, one level of nesting at a time, without recursion
        if (level := level + 1) > MAX_DEPTH:
            raise Refused("SerializationException", f"The body is nested more than {MAX_DEPTH} levels deep.", 400)
        nested = (member for member in members if isinstance(member, (dict, list)))
        members = [inner for member in nested for inner in (member.values() if isinstance(member, dict) else member)]
    if target and (problem := shapes.json_problem(service, target, body)):
        raise Refused("ValidationException", problem, 400)


# --- responses ------------------------------------------------------------------------------------------------------


def replay(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Return an ASGI `receive` that yields a body that has been read already, and then blocks until it is cancelled."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return receive


def closed_to_pages(send: Any, signature: Signature | None) -> Any:
    """Return an ASGI `send` that drops ministack's CORS headers, except S3's, which a bucket configures."""

    async def sent(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and signature is not None and signature.service != "s3":
            headers = [(n, v) for n, v in message["headers"] if not n.lower().startswith(b"access-control-")]
            message = {**message, "headers": headers}
        await send(message)

    return sent


async def respond(send: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    headers = {**headers, "Content-Length": str(len(body))}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


# The error code and HTTP status of a bad signature in each of AWS's protocols: (S3, query, JSON).
SIGNATURE_CODES = {
    "MissingAuthenticationToken": (("AccessDenied", 403), ("MissingAuthenticationToken", 403), ("MissingAuthenticationTokenException", 400)),
    "UnrecognizedClientException": (("InvalidAccessKeyId", 403), ("InvalidClientTokenId", 403), ("UnrecognizedClientException", 400)),
    "SignatureDoesNotMatch": (("SignatureDoesNotMatch", 403), ("SignatureDoesNotMatch", 403), ("InvalidSignatureException", 400)),
    "RequestTimeTooSkewed": (("RequestTimeTooSkewed", 403), ("SignatureDoesNotMatch", 403), ("InvalidSignatureException", 400)),
}  # fmt: skip


def of_signature(bad: BadSignature, request: Request | None) -> Refused:
    """Return the refusal of a bad signature, with the error code and status of the request's protocol."""
    codes = SIGNATURE_CODES.get(bad.code, ((bad.code, 403),) * 3)
    code, status = codes[("s3", "query", "json").index(protocol_of(request))]
    return Refused(code, bad.message, status)


def protocol_of(request: Request | None) -> str:
    """Return the protocol whose error format the client reads: "s3", "query" or "json"."""
    if request is None:
        return "json"
    content_type = request.headers.get("content-type", "")
    scope = request.headers.get("authorization", "") + "".join(request.query.get("X-Amz-Credential", []))
    if content_type.startswith("application/x-www-form-urlencoded"):
        return "query"
    return "s3" if "/s3/aws4_request" in scope else "json"


def error_response(request: Request | None, refused: Refused) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an error, in the request's protocol."""
    code, message = escape(refused.code), escape(refused.message)
    match protocol_of(request):
        case "s3":
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            return refused.status, {"Content-Type": "application/xml"}, body.encode()
        case "query":
            error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            return refused.status, {"Content-Type": "text/xml"}, f"<ErrorResponse>{error}</ErrorResponse>".encode()
    body = json.dumps({"__type": refused.code, "message": refused.message})
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": refused.code}
    return refused.status, headers, body.encode()
