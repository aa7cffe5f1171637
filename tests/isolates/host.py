"""A real isolate host for tests: the supervisor as a process of its own, real workerd, and what listens where the
gateway would.
"""

import asyncio
import hashlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE = REPOSITORY / "sandbox-images" / "isolate-host"
ARCHITECTURE = {"x86_64": "64", "aarch64": "arm64"}[platform.machine()]
WORKERD = IMAGE / "node_modules" / "@cloudflare" / f"workerd-linux-{ARCHITECTURE}" / "bin" / "workerd"
POD_UID = "8c9a1b52-0000-4000-8000-000000000001"
POD_TOKEN = "projected-token-of-the-pod"
RUN_SUPERVISOR = (
    "import asyncio, os; from ambit.telemetry import logs; from ambit.isolates import main, settings;"
    "logs.configure('isolate-host');"
    "asyncio.run(main.run(settings.Settings.from_env(os.environ)))"
)


@dataclass
class Asked:
    """A request as it came to the gateway's port."""

    method: str
    target: str
    """As on the wire: a path, or an absolute address."""
    headers: dict[str, str]
    body: bytes


@dataclass
class GatewayPort:
    """Stands where the gateway listens for isolate hosts: keeps what came, answers as `answer` says."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list[Asked])
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None
    broken_off: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        target = request.raw_path
        self.asked.append(Asked(request.method, target, headers, await request.read()))
        try:
            if self.answer is not None:
                return await self.answer(request)
        except asyncio.CancelledError:
            self.broken_off.set()
            raise
        if target.startswith("/"):
            return web.json_response({"hello": headers["x-ambit-session"]})
        return web.json_response({"reason": "HostNotAllowed"}, status=403)


@dataclass
class Host:
    """A client of the host's API, as the gateway is one."""

    url: str
    signer: Ed25519PrivateKey
    client: aiohttp.ClientSession
    gateway: GatewayPort
    process: asyncio.subprocess.Process
    state_dir: Path
    log: list[dict[str, object]]

    def token(self, **claims: object) -> str:
        """A token as the gateway signs them, with some claims otherwise."""
        now = int(time.time())
        return jwt.encode(
            {"aud": "ambit-isolate-host", "sub": POD_UID, "iat": now, "exp": now + 60, **claims},
            self.signer,
            algorithm="EdDSA",
        )

    def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, data: bytes | None = None
    ) -> "aiohttp.client._RequestContextManager":  # pyright: ignore[reportPrivateUsage] -- aiohttp has no public name
        return self.client.request(
            method, self.url + path, headers={"authorization": f"Bearer {self.token()}", **(headers or {})}, data=data
        )

    async def put_code(self, source: str) -> str:
        """Its sha256."""
        raw = bundle(source)
        sha256 = hashlib.sha256(raw).hexdigest()
        async with self.request("PUT", f"/v1/code/{sha256}", data=raw) as answer:
            assert answer.status == 204, await answer.text()
        return sha256

    async def open(self, session: str, source: str, session_input: str = "") -> "Opened":
        """Runs the agent to its end."""
        async with self.stream(session, await self.put_code(source), session_input) as answer:
            body = await answer.read()
            return Opened(answer.status, dict(answer.headers), body.decode())

    def stream(
        self, session: str, sha256: str, session_input: str = "", *, runtime_ms: int = 30_000
    ) -> "aiohttp.client._RequestContextManager":  # pyright: ignore[reportPrivateUsage] -- aiohttp has no public name
        headers = {"x-ambit-code-sha256": sha256, "x-ambit-runtime-ms": str(runtime_ms)}
        return self.request("POST", f"/v1/sessions/{session}", headers=headers, data=session_input.encode())

    async def renew(self, session: str, runtime_ms: int) -> int:
        """The status of the answer."""
        headers = {"x-ambit-runtime-ms": str(runtime_ms)}
        async with self.request("PUT", f"/v1/sessions/{session}/runtime", headers=headers) as answer:
            return answer.status

    async def sessions(self) -> list[str]:
        async with self.request("GET", "/v1/sessions") as answer:
            return (await answer.json())["sessions"]

    async def state(self, session: str) -> dict[str, str]:
        async with self.request("GET", f"/v1/sessions/{session}") as answer:
            return await answer.json()

    async def ready(self) -> bool:
        async with self.client.get(f"http://{self.health}/readyz") as answer:
            return answer.status == 200

    @property
    def health(self) -> str:
        """HOST:PORT of the health listener."""
        return next(str(line["health"]) for line in self.log if line["message"] == "serving")

    async def metric(self, name: str, **labels: str) -> float:
        """The present value; 0 where there is none yet."""
        wanted = "{" + ",".join(f'{label}="{value}"' for label, value in sorted(labels.items())) + "}" if labels else ""
        async with self.client.get(f"http://{self.health}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(f"{name}{wanted} "):
                    return float(line.rpartition(" ")[2])
        return 0.0

    async def nothing_left(self) -> None:
        """Waits until no session is left."""
        await until(self._empty)

    async def _empty(self) -> bool:
        return await self.sessions() == []

    def shard_pids(self) -> list[int]:
        """The workerd processes that this supervisor started and that still run."""
        return [pid for pid in children(self.process.pid) if command(pid).startswith(str(WORKERD))]


@dataclass(frozen=True)
class Opened:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.body)


def bundle(source: str, main: str = "agent.js") -> bytes:
    """Canonical, as the gateway makes it."""
    value = {"main": main, "modules": {main: source}}
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def children(pid: int) -> list[int]:
    """By their own word (proc(5), the fourth field of stat): gVisor's `children` file names threads too."""
    parents = {int(stat.parent.name): _parent(stat) for stat in Path("/proc").glob("[0-9]*/stat")}
    return [child for child, parent in parents.items() if parent == pid]


def _parent(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid: int) -> bool:
    """Not so: a process that has ended and was not waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files(pid: int) -> list[str]:
    return [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except FileNotFoundError:
        return ""


async def until(condition: Callable[[], Awaitable[bool]], deadline_s: float = 60) -> None:
    """Returns when it holds; TimeoutError when it does not come to hold."""
    async with asyncio.timeout(deadline_s):
        while not await condition():  # noqa: ASYNC110 -- the condition is another process's
            await asyncio.sleep(0.01)


@asynccontextmanager
async def a_host(**environment: str) -> AsyncGenerator[Host]:
    """A running host with its gateway port; `environment` adds to the supervisor's settings."""
    if not WORKERD.exists():
        raise AssertionError(f"workerd is not installed: npm ci --ignore-scripts --prefix {IMAGE}")
    gateway = GatewayPort()
    server = web.ServerRunner(web.Server(gateway.handle, handler_cancellation=True))
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    gateway.url = "http://{}:{}".format(*server.addresses[0][:2])
    signer = Ed25519PrivateKey.generate()
    log: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="ambit-") as folder:
        process = await _start(Path(folder), signer, gateway.url, environment)
        reading = asyncio.create_task(_read_log(process, log))
        try:
            url = await _address(process, log)
            async with aiohttp.ClientSession() as client:
                host = Host(url, signer, client, gateway, process, Path(folder) / "state", log)
                await until(host.ready)
                yield host
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()
            await reading
            await server.cleanup()


async def _start(
    folder: Path, signer: Ed25519PrivateKey, gateway_url: str, environment: dict[str, str]
) -> asyncio.subprocess.Process:
    token_file = folder / "token"
    token_file.write_text(POD_TOKEN + "\n")
    public_key = signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUN_SUPERVISOR,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "AMBIT_POD_UID": POD_UID,
            "AMBIT_POD_NAME": "default-isolate-host-0",
            "AMBIT_GATEWAY_URL": gateway_url,
            "AMBIT_GATEWAY_PUBLIC_KEY": public_key,
            "AMBIT_GATEWAY_TOKEN_FILE": str(token_file),
            "AMBIT_STATE_DIR": str(folder / "state"),
            "AMBIT_HOST_LISTEN": "127.0.0.1:0",
            "AMBIT_HEALTH_LISTEN": "127.0.0.1:0",
            "AMBIT_WORKERD": str(WORKERD),
            "AMBIT_SHARD_CONFIG": str(IMAGE / "shard.capnp"),
            "AMBIT_HANG_MS": "200",
            **environment,
        },
    )


async def _read_log(process: asyncio.subprocess.Process, log: list[dict[str, object]]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        try:
            log.append(json.loads(line))
        except json.JSONDecodeError:
            log.append({"message": line.decode()})


async def _address(process: asyncio.subprocess.Process, log: list[dict[str, object]]) -> str:
    """Where the supervisor serves, by its own word."""

    async def serving() -> bool:
        if process.returncode is not None:
            raise AssertionError(f"the supervisor exited with {process.returncode}: {log}")
        return any(line["message"] == "serving" for line in log)

    await until(serving)
    listen = next(line["sessions"] for line in log if line["message"] == "serving")
    assert isinstance(listen, list)
    return f"http://{listen[0]}:{listen[1]}"
