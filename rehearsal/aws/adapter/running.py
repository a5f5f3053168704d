"""Serve the emulated AWS, and run functions in its account: on its event loop, or on threads."""

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
    """Return the URL of the emulated AWS."""
    return f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"


def root_credentials() -> dict[str, str]:
    """Return the credentials of the account's root user, for what AWS does on its own behalf."""
    return {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"]}


# One session, so that service models are loaded once. Creating clients from it is not thread-safe: hence the lock.
_session = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
_session_lock = threading.Lock()


def client(service: str, credentials: dict[str, str]) -> Any:
    """Return a botocore client of the emulated AWS with the given credentials."""
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
    """Call a function on the server's event loop and return its result; if already on the loop, call it directly."""
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
    """Call a function on a new daemon thread, in the emulator's account and region; return the thread."""

    def run() -> None:
        with request_scope(ACCOUNT, REGION):
            function(*arguments)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), daemon=True)
    thread.start()
    return thread


_repeated: list[tuple[float, Callable[[], None]]] = []


def every(seconds: float, function: Callable[[], None]) -> None:
    """Call a function every `seconds` on the server's event loop, in the emulator's account and region."""
    _repeated.append((seconds, function))


async def _repeat(seconds: float, function: Callable[[], None]) -> None:
    with request_scope(ACCOUNT, REGION):
        while True:
            await asyncio.sleep(seconds)
            function()


Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


async def serve(wrap: Callable[[Application], Application], port: int, ready: Callable[[], None]) -> None:
    """Serve the emulated AWS on the loopback interface until SIGINT or SIGTERM.

    `wrap` adds the emulator's own layers around ministack's ASGI application; `ready` is called soon after the start.
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
            # The emulator has no certificate: on the loopback interface, every request counts as sent over TLS.
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await ministack_app.app(scope, receive, send)

    _loop.call_later(0.05, ready)
    repeating = [asyncio.create_task(_repeat(*each)) for each in _repeated]
    await hypercorn_serve(wrap(over_tls), config, shutdown_trigger=stop.wait)
    for task in repeating:
        task.cancel()
