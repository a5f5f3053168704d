"""Serve the emulated AWS, and run things in its account: on its event loop, or on a thread of their own."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import botocore.config
import botocore.session
from ministack import app as ministack_app
from ministack.core.responses import request_scope

ACCOUNT, REGION = "111122223333", "us-east-1"


def endpoint() -> str:
    """The address of the played AWS."""
    return f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"


def root_credentials() -> dict[str, str]:
    """Of the account itself, for what AWS does on its own behalf."""
    return {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"]}


# One session, so that service models are read once; it may make one client at a time.
_session = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
_session_lock = threading.Lock()


def client(service: str, credentials: dict[str, str]) -> Any:
    """A botocore client of the played AWS with somebody's credentials."""
    with _session_lock:
        return _session.create_client(
            service,
            region_name=REGION,
            endpoint_url=endpoint(),
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
            config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )


_loop: asyncio.AbstractEventLoop | None = None


def on_loop(function: Callable[[], Any]) -> Any:
    """Run something on the server's event loop and wait for it; from the loop itself, run it at once."""
    try:
        asyncio.get_running_loop()
        return function()
    except RuntimeError:
        pass

    async def call() -> Any:
        return function()

    assert _loop is not None
    return asyncio.run_coroutine_threadsafe(call(), _loop).result(timeout=60)


def in_background(function: Callable[..., Any], *arguments: Any) -> threading.Thread:
    """Run something on a thread of its own, in the account and region of the play."""

    def run() -> None:
        with request_scope(ACCOUNT, REGION):
            function(*arguments)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), daemon=True)
    thread.start()
    return thread


_repeated: list[tuple[float, Callable[[], None]]] = []


def every(seconds: float, function: Callable[[], None]) -> None:
    """Run something on the server's event loop, in the account and region, again and again while it serves."""
    _repeated.append((seconds, function))


async def _repeat(seconds: float, function: Callable[[], None]) -> None:
    with request_scope(ACCOUNT, REGION):
        while True:
            await asyncio.sleep(seconds)
            function()


Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


async def serve(wrap: Callable[[Application], Application], port: int, ready: Callable[[], None]) -> None:
    """Serve the emulated AWS on the loopback interface until the process is told to stop.

    `wrap` puts what stands in front of ministack's ASGI application around it.
    """
    from hypercorn.asyncio import serve as hypercorn_serve
    from hypercorn.config import Config

    global _loop
    _loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signal_number in (2, 15):
        _loop.add_signal_handler(signal_number, stop.set)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.shutdown_timeout = 2
    config.loglevel = "WARNING"

    async def over_tls(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            # The emulator has no certificate; on the loopback interface, a request counts as one over TLS.
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await ministack_app.app(scope, receive, send)

    _loop.call_later(0.05, ready)
    repeating = [asyncio.create_task(_repeat(*each)) for each in _repeated]
    await hypercorn_serve(wrap(over_tls), config, shutdown_trigger=stop.wait)
    for task in repeating:
        task.cancel()
