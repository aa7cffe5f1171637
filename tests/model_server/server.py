"""Serves the scripted model server on aiohttp, and remembers what it received."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from tests.model_server.embeddings import Embeddings
from tests.model_server.formats import Anthropic, Count, OpenAI, Plan, plan
from tests.model_server.gemini import Gemini, GeminiArray, GeminiCount, asked
from tests.model_server.responses import Responses
from tests.model_server.script import Script, script_of

Format = type[OpenAI] | type[Anthropic] | type[Responses] | type[Embeddings] | type[Gemini]


@dataclass(eq=False)
class Received:
    """One request as it came in."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    peer: object = None
    """The caller's address and port: the same for requests on one connection."""
    frames_sent: int = 0
    answered: bool = False
    """Whether the whole answer was written."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the caller disconnected before the answer was complete."""

    def header(self, name: str) -> str | None:
        """The value of a header; None if it is missing. Raises ValueError if it came twice."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        if len(values) > 1:
            raise ValueError(f"{name} came {len(values)} times")
        return values[0] if values else None

    @property
    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        return msgspec.json.decode(self.body, type=dict[str, Any])


class ModelServer:
    """The server's state: what came in."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._arrival = asyncio.Condition()
        self.url = ""
        self.before_frame: Callable[[], Awaitable[None]] = _at_once
        """Waited for before each frame of a stream: a test's way to pace all streams by what it waits for."""

    async def next_arrival(self) -> None:
        """Waits until another request has come in."""
        async with self._arrival:
            await self._arrival.wait()

    def app(self) -> web.Application:
        """The application; every path that is not a format's answers 404."""
        app = web.Application(client_max_size=64 * 2**20)
        app.add_routes(
            [
                web.post("/{base:.*}v1/chat/completions", self._openai),
                web.post("/{base:.*}v1/responses", self._responses),
                web.post("/{base:.*}v1/embeddings", self._embeddings),
                web.post("/{base:.*}{version:v1|v1beta}/models/{model:[^/]+}:{verb:[a-zA-Z]+}", self._gemini),
                web.post("/{base:.*}v1/messages", self._anthropic),
                web.post("/{base:.*}v1/messages/count_tokens", self._count),
                web.get("/received", self._list_received),
                web.delete("/received", self._forget_received),
                web.get("/healthz", _healthz),
            ]
        )
        return app

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, OpenAI)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, Responses)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, Embeddings)

    async def _anthropic(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, Anthropic)

    async def _count(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, Count)

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        verb = request.match_info["verb"]
        fields = asked(body, request.match_info["model"], verb == "streamGenerateContent")
        streamed = Gemini if request.query.get("alt") == "sse" else GeminiArray
        return await self._call(request, GeminiCount if verb == "countTokens" else streamed, fields)

    async def _call(
        self, request: web.Request, form: Format, fields: dict[str, Any] | None = None
    ) -> web.StreamResponse:
        body = await request.read()
        peer = None if request.transport is None else request.transport.get_extra_info("peername")
        received = Received(request.method, request.path_qs, list(request.headers.items()), body, peer)
        async with self._arrival:
            self.received.append(received)
            self._arrival.notify_all()
        try:
            answer = await self._answer(request, form, received, received.json if fields is None else fields)
        except (asyncio.CancelledError, ConnectionError):
            received.gone.set()
            raise
        received.answered = True
        return answer

    async def _answer(
        self, request: web.Request, form: Format, received: Received, fields: dict[str, Any]
    ) -> web.StreamResponse:
        script = script_of(str(fields["model"]))
        await asyncio.sleep(script.first_ms / 1000)
        if script.status != 200:
            headers = {} if script.retry_after is None else {"Retry-After": str(script.retry_after)}
            return web.json_response(form.error(script.status), status=script.status, headers=headers)
        planned = plan(fields, script)
        if script.hang_after == 0:
            await asyncio.Event().wait()
        if fields.get("stream"):
            return await _stream(request, form, planned, received, self.before_frame)
        return await _document(request, form, planned)

    async def _list_received(self, _: web.Request) -> web.Response:
        return web.json_response(
            [
                {"method": one.method, "target": one.target, "headers": one.headers, "body": one.body.decode("utf-8")}
                for one in self.received
            ]
        )

    async def _forget_received(self, _: web.Request) -> web.Response:
        self.received.clear()
        return web.Response(status=204)


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _document(request: web.Request, form: Format, planned: Plan) -> web.StreamResponse:
    await asyncio.sleep(planned.script.frame_ms * planned.output_tokens / 1000)
    body = msgspec.json.encode(form.document(planned))
    response = web.StreamResponse(headers={"Content-Type": "application/json", "X-Request-Id": "scripted"})
    response.content_length = len(body)
    await response.prepare(request)
    if planned.script.cut_after is not None:
        await response.write(body[: len(body) // 2])
        _break_off(request)
    await response.write(body)
    await response.write_eof()
    return response


async def _at_once() -> None:
    pass


async def _stream(
    request: web.Request,
    form: Format,
    planned: Plan,
    received: Received,
    before_frame: Callable[[], Awaitable[None]],
) -> web.StreamResponse:
    script = planned.script
    kind = "application/json" if form is GeminiArray else "text/event-stream"
    response = web.StreamResponse(headers={"Content-Type": kind, "X-Request-Id": "scripted"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    for event in form.events(planned):
        await _before_frame(request, script, received.frames_sent)
        await before_frame()
        await response.write(event)
        received.frames_sent += 1
    await response.write_eof()
    return response


async def _before_frame(request: web.Request, script: Script, sent: int) -> None:
    if script.cut_after is not None and sent >= script.cut_after:
        _break_off(request)
    if script.hang_after is not None and sent >= script.hang_after:
        await asyncio.Event().wait()
    await asyncio.sleep(script.frame_ms / 1000)


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("broken off, as scripted")


@asynccontextmanager
async def running(
    listen_host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[ModelServer]:
    """Serves while the block runs; port 0: any free one."""
    server = ModelServer()
    runner = web.AppRunner(server.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, listen_host, port, ssl_context=tls).start()
        host, bound = runner.addresses[0][:2]
        server.url = f"{'https' if tls else 'http'}://{host}:{bound}"
        yield server
    finally:
        await runner.cleanup()
