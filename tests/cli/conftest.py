"""`ambit` as people call it: a process with a kubeconfig, whose apiserver forwards a port to a real gateway."""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
import yaml
from aiohttp import web

from ambit.api.names import GATEWAY_CA_PEM
from ambit.control.keys import GATEWAY_TLS, KeyState, WriteSecret, WriteTrust, missing
from tests.gateway_sessions.rig import Rig, a_rig_with_host

AMBIT = "from ambit.cli.main import main; main()"


@dataclass
class Kubelet:
    """Stands between `ambit` and the gateway as apiserver and kubelet do: shows what proves the gateway, says where it
    is, and forwards its port (`v4.channel.k8s.io`). The real ones are tried in e2e: without a node there is no pod.
    """

    gateway_address: str
    authority_pem: str
    url: str = ""

    async def trust(self, _: web.Request) -> web.Response:
        return web.json_response({"data": {"gateway-ca.pem": self.authority_pem}})

    async def pods(self, request: web.Request) -> web.Response:
        assert request.query["labelSelector"] == "ambit.dev/component=gateway"
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        waiting = {"conditions": [{"type": "Ready", "status": "False"}]}
        pods = [{"metadata": {"name": "a"}, "status": waiting}, {"metadata": {"name": "b"}, "status": ready}]
        return web.json_response({"items": pods})

    async def forward(self, request: web.Request) -> web.WebSocketResponse:
        assert (request.match_info["pod"], request.query["ports"]) == ("b", "8443")
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        port = (8443).to_bytes(2, "little")
        await socket.send_bytes(b"\0" + port)
        await socket.send_bytes(b"\1" + port)
        host, _, gateway_port = self.gateway_address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(gateway_port))
        back = asyncio.create_task(_back(reader, socket))
        try:
            async for message in socket:
                assert message.type is aiohttp.WSMsgType.BINARY
                assert message.data[0] == 0
                writer.write(message.data[1:])
                await writer.drain()
        finally:
            back.cancel()
            writer.close()
        return socket


async def _back(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    while content := await reader.read(65536):
        await socket.send_bytes(b"\0" + content)
    await socket.close()


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass
class Shell:
    """Calls `ambit` as one user."""

    rig: Rig
    kubelet: Kubelet
    folder: Path

    def kubeconfig(self, user: dict[str, Any], name: str = "config") -> Path:
        """A kubeconfig whose apiserver is the stand-in."""
        context = {"cluster": "c", "user": "u", "namespace": self.rig.namespace}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": context}],
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": self.kubelet.url,
                        "certificate-authority": str(self.folder / "apiserver-ca.pem"),
                    },
                }
            ],
            "users": [{"name": "u", "user": user}],
        }
        path = self.folder / name
        path.write_text(yaml.safe_dump(document))
        return path

    def administrator(self) -> dict[str, Any]:
        """The user of KUBECONFIG."""
        loaded = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        user: dict[str, Any] = loaded["users"][0]["user"]
        return user

    @asynccontextmanager
    async def started(
        self, *arguments: str, user: dict[str, Any] | None = None, stdin: str = ""
    ) -> AsyncGenerator[asyncio.subprocess.Process]:
        """A running command."""
        config = self.kubeconfig(self.administrator() if user is None else user)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            AMBIT,
            *arguments,
            env=os.environ | {"KUBECONFIG": str(config)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def call(self, *arguments: str, user: dict[str, Any] | None = None, stdin: str = "") -> Done:
        """A command, to its end."""
        async with self.started(*arguments, user=user, stdin=stdin) as process:
            out, err = await process.communicate()
            assert process.returncode is not None
            return Done(process.returncode, out.decode(), err.decode())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shell(tmp_path_factory: Any) -> AsyncGenerator[Shell]:
    folder: Path = tmp_path_factory.mktemp("cli")
    async with a_rig_with_host(folder) as rig:
        kubelet = Kubelet(rig.listener.address, rig.authority_pem)
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/ambit-system/configmaps/ambit-trust", kubelet.trust)
        app.router.add_get("/api/v1/namespaces/ambit-system/pods", kubelet.pods)
        app.router.add_get("/api/v1/namespaces/ambit-system/pods/{pod}/portforward", kubelet.forward)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_certificate(folder)).start()
        kubelet.url = "https://{}:{}".format(*runner.addresses[0][:2])
        try:
            yield Shell(rig, kubelet, folder)
        finally:
            await runner.cleanup()


def another_authority() -> tuple[dict[str, bytes], str]:
    """A certificate for 127.0.0.1 and its key, by an authority of its own; and that authority."""
    writes = missing(KeyState(secrets={}, trust=None), datetime.now(UTC), ("127.0.0.1",))
    secrets = {write.name: dict(write.data) for write in writes if isinstance(write, WriteSecret)}
    trust = next(write for write in writes if isinstance(write, WriteTrust))
    return secrets[GATEWAY_TLS], trust.data[GATEWAY_CA_PEM]


def _certificate(folder: Path) -> ssl.SSLContext:
    files, authority = another_authority()
    (folder / "apiserver-ca.pem").write_text(authority)
    for name, content in files.items():
        (folder / f"apiserver-{name}").write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "apiserver-tls.crt", folder / "apiserver-tls.key")
    return context
