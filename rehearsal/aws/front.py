"""What stands in front of ministack: git over HTTP, which is no AWS API."""

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

from rehearsal.aws.adapter import Application
from rehearsal.aws.codecommit import CodeCommit


def front(repositories: CodeCommit) -> Callable[[Application], Application]:
    """Wrap an ASGI application so that /v1/repos/ is served by git."""

    def wrap(application: Application) -> Application:
        async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] != "http" or not scope["path"].startswith("/v1/repos/"):
                await application(scope, receive, send)
                return
            headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
            body = await read(receive)
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
                del headers["content-encoding"]
            query = scope["query_string"].decode()
            status, fields, content = await asyncio.to_thread(
                repositories.serve_git, scope["method"], scope["path"], query, headers, body
            )
            fields["Content-Length"] = str(len(content))
            raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": content})

        return answer

    return wrap


async def read(receive: Any) -> bytes:
    """The whole body of a request."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)
