"""Serve what is not an AWS API: git over HTTP, and requests of the rehearsal to the emulator itself."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from rehearsal.aws.adapter import Signature
from rehearsal.aws.codecommit import CodeCommit
from rehearsal.aws.gate import Receive, Refused, Request, read, unpack

Response = tuple[int, dict[str, str], bytes]
Front = Callable[[Request, Signature | None, bytes, Receive], Awaitable[Response | None]]
GIT_LIMIT = 256 * 2**20  # bytes of a push, packed and unpacked


def front(repositories: CodeCommit, interrupt: Callable[[str], None]) -> Front:
    """Return a handler for /v1/repos/ (git) and /rehearsal/ (`interrupt`), which returns None for AWS's services."""

    async def serve(request: Request, signature: Signature | None, body: bytes, receive: Receive) -> Response | None:
        if request.path.startswith("/v1/repos/"):
            return await serve_git(repositories, request, receive)
        if request.path.startswith("/rehearsal/"):
            return control(request, signature, body, interrupt)
        return None

    return serve


def control(request: Request, signature: Signature | None, body: bytes, interrupt: Callable[[str], None]) -> Response:
    """Handle POST /rehearsal/spot-interruptions {"NameContains": ...}: interrupt the first such spot training job once.

    Raise Refused for any other request, and for one that is not signed with the root key of this rehearsal.
    """
    if signature is None or not signature.is_root:
        raise Refused("AccessDenied", "Only the root key of this rehearsal may ask the emulator itself.")
    if (request.method, request.path) != ("POST", "/rehearsal/spot-interruptions"):
        raise Refused("UnknownOperationException", f"The emulator has no {request.method} {request.path}.", 404)
    try:
        wish: Any = json.loads(body)
    except ValueError as error:
        raise Refused("SerializationException", f"The body is not JSON: {error}", 400) from error
    text = wish.get("NameContains") if isinstance(wish, dict) and len(wish) == 1 else None
    if not isinstance(text, str) or not text:
        message = 'The body is not {"NameContains": "<a part of the name of a training job>"}.'
        raise Refused("ValidationException", message, 400)
    interrupt(text)
    return 204, {}, b""


async def serve_git(repositories: CodeCommit, request: Request, receive: Receive) -> Response:
    """Serve a git client: authorize the request first, then read its body and run git."""
    query = request.query_string
    refused = await asyncio.to_thread(repositories.refuse_git, request.path, query, request.headers)
    if refused is not None:
        return refused
    body, headers = await read(request, receive, GIT_LIMIT), dict(request.headers)
    if encoding := headers.pop("content-encoding", ""):
        body = await asyncio.to_thread(unpack, body, encoding, GIT_LIMIT)
    return await asyncio.to_thread(repositories.serve_git, request.method, request.path, query, headers, body)
