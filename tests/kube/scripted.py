"""An apiserver that misbehaves on purpose: each request gets the next answer of a script.

The real one cannot be made to answer 410, 503 or half a line when a test wants it. What it does when it is well is
tested against the real one (test_apiserver.py).
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ambit.kube import KubeClient, KubeConfig


@dataclass
class Answer:
    """One scripted answer: a status and what is written, piece by piece; then the connection is closed or broken."""

    status: int = 200
    pieces: list[bytes] = field(default_factory=list[bytes])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    broken: bool = False
    """The connection is cut without the end of the chunked body."""
    hangs: bool = False
    """Stays open after the pieces, until the client goes."""


@dataclass
class Script:
    """The answers to come, and the requests that came: method and path with query."""

    answers: list[Answer]
    requests: list[str] = field(default_factory=list[str])
    exhausted: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        if not self.answers:
            self.exhausted.set()
            await asyncio.Event().wait()
        scripted = self.answers.pop(0)
        response = web.StreamResponse(status=scripted.status, headers=scripted.headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in scripted.pieces:
            await response.write(piece)
        if scripted.broken:
            assert request.transport is not None
            request.transport.close()
        if scripted.hangs:
            await asyncio.Event().wait()
        return response


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncGenerator[tuple[Script, KubeClient]]:
    """Runs the script on 127.0.0.1; after its last answer every request hangs and `exhausted` is set."""
    script = Script(list(answers))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with KubeClient(KubeConfig(server=f"http://{host}:{port}", tls=None)) as client:
            yield script, client
    finally:
        await runner.cleanup()


def a_pod(name: str, version: int, **extra: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "a", "resourceVersion": str(version)}} | extra


def a_list(version: int, *items: dict[str, Any]) -> Answer:
    return Answer(pieces=[json.dumps({"metadata": {"resourceVersion": str(version)}, "items": items}).encode()])


def event(kind: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def a_refusal(status: int, reason: str, message: str, **headers: str) -> Answer:
    body = {"kind": "Status", "code": status, "reason": reason, "message": message}
    return Answer(status, [json.dumps(body).encode()], {key.replace("_", "-"): value for key, value in headers.items()})
