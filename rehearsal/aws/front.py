"""What stands in front of ministack and is no AWS API: git over HTTP, and what a rehearsal asks of the play itself."""

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

from rehearsal.aws.adapter import Application
from rehearsal.aws.codecommit import CodeCommit

Answer = tuple[int, dict[str, str], bytes]


def front(repositories: CodeCommit, interrupt: Callable[[str], None]) -> Callable[[Application], Application]:
    """Wrap an ASGI application so that /v1/repos/ is served by git, and /rehearsal/spot-interruptions by `interrupt`."""

    def wrap(application: Application) -> Application:
        async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] != "http" or not scope["path"].startswith(("/v1/repos/", "/rehearsal/")):
                await application(scope, receive, send)
                return
            body = await read(receive)
            if scope["path"].startswith("/rehearsal/"):
                status, fields, content = control(scope, body, interrupt)
            else:
                status, fields, content = await serve_git(repositories, scope, body)
            fields["Content-Length"] = str(len(content))
            raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": content})

        return answer

    return wrap


def control(scope: dict[str, Any], body: bytes, interrupt: Callable[[str], None]) -> Answer:
    """POST /rehearsal/spot-interruptions {"NameContains": ...}: interrupt the first such spot training job once."""
    if (scope["method"], scope["path"]) != ("POST", "/rehearsal/spot-interruptions"):
        return 404, {}, b""
    interrupt(json.loads(body)["NameContains"])
    return 204, {}, b""


async def serve_git(repositories: CodeCommit, scope: dict[str, Any], body: bytes) -> Answer:
    """Answer a git client."""
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
        del headers["content-encoding"]
    query = scope["query_string"].decode()
    return await asyncio.to_thread(repositories.serve_git, scope["method"], scope["path"], query, headers, body)


async def read(receive: Any) -> bytes:
    """The whole body of a request."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
