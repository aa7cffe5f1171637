"""The gateway's API for people and services, and the way to it from outside the cluster."""

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ambit.api.names import COMPONENT_LABEL, GATEWAY, GATEWAY_CA_PEM, GATEWAY_COMPONENT, TRUST
from ambit.client import kubeconfig
from ambit.client.errors import ClientError, GatewayRefused
from ambit.client.port_forward import Forward, forwarded, unreachable
from ambit.client.sessions import SessionStream, SessionView

CONTROL_NAMESPACE: Final = "ambit-system"
GATEWAY_PORT: Final = 8443
GATEWAY_SELECTOR: Final = f"{COMPONENT_LABEL}={GATEWAY_COMPONENT}"
ANSWER_TIMEOUT_S: Final = 60.0
SILENCE_S: Final = 60.0
"""The gateway says at least every 15 s that a session's stream lives, also while the agent is silent. A port-forward
may outlive the pod that it led to, and then nobody ever says anything.
"""


class GatewayClient:
    """Speaks with one gateway. Made by `connect`, or with an aiohttp session of one's own inside the cluster."""

    def __init__(self, session: aiohttp.ClientSession, url: str, forward: Forward | None = None) -> None:
        """`session` proves who we are; `url` is the gateway's, without a slash at the end."""
        self._session = session
        self._url = url
        self._forward = forward

    @asynccontextmanager
    async def run(
        self,
        namespace: str,
        agent: str,
        session_input: str = "",
        bounds: dict[str, str] | None = None,
        *,
        user: str = "",
        labels: dict[str, str] | None = None,
    ) -> AsyncGenerator[SessionStream]:
        """Opens a session; leaving the block before its end kills it. Raises GatewayRefused, ClientError.

        `user` is for whom it is, where the Agent bounds each user; `labels`, at most five, tell its usage apart.
        """
        path = f"/v1/namespaces/{quote(namespace)}/agents/{quote(agent)}/sessions"
        body: dict[str, Any] = {"input": session_input}
        if bounds:
            body["bounds"] = bounds
        if user:
            body["user"] = user
        if labels:
            body["labels"] = labels
        # A session may run for as long as its bounds let it.
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)
        try:
            async with self._session.post(self._url + path, json=body, timeout=timeout) as answer:
                await _accepted(answer)
                yield await SessionStream.begin(answer)
        except aiohttp.ClientConnectionError as error:
            raise self._unreachable(error) from error

    async def sessions(self, namespace: str) -> list[SessionView]:
        """All sessions of a namespace. Raises GatewayRefused, ClientError."""
        listed = await self._json("GET", f"/v1/namespaces/{quote(namespace)}/sessions")
        return [SessionView.of(one) for one in listed["sessions"]]

    async def kill(self, namespace: str, session: str) -> SessionView:
        """Kills a session; when this returns, nothing of it is running. Raises GatewayRefused, ClientError."""
        return SessionView.of(
            await self._json("DELETE", f"/v1/namespaces/{quote(namespace)}/sessions/{quote(session)}")
        )

    async def _json(self, method: str, path: str) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        try:
            async with self._session.request(method, self._url + path, timeout=timeout) as answer:
                await _accepted(answer)
                return await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ClientError:
        if self._forward is not None:
            return unreachable(self._forward, error)
        return ClientError(f"the gateway at {self._url} cannot be reached: {error}.")


async def _accepted(answer: aiohttp.ClientResponse) -> None:
    if answer.status < 300:
        return
    retry_after = answer.headers.get("Retry-After", "")
    try:
        said: dict[str, Any] = await answer.json()
    except (aiohttp.ContentTypeError, ValueError):
        said = {}
    raise GatewayRefused(
        answer.status,
        str(said.get("reason", "")),
        str(said.get("message") or f"the gateway answered {answer.status} without saying why"),
        int(retry_after) if retry_after.isdigit() else None,
    )


@asynccontextmanager
async def connect(
    *, control_namespace: str = CONTROL_NAMESPACE, context: str | None = None
) -> AsyncGenerator[GatewayClient]:
    """A way to the gateway with the user's kubeconfig alone. Raises ClientError."""
    credentials = kubeconfig.load(context)
    connector = aiohttp.TCPConnector(ssl=credentials.to_apiserver())
    apiserver = aiohttp.ClientSession(
        base_url=credentials.server,
        connector=connector,
        proxy=credentials.proxy,
        headers=credentials.headers,
        timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S),
    )
    async with apiserver:
        found = await _find(apiserver, credentials, control_namespace)
        name = f"{GATEWAY}.{control_namespace}.svc"
        async with forwarded(
            apiserver, control_namespace, found.pod, GATEWAY_PORT, server_name=credentials.server_name
        ) as forward:
            to_gateway = aiohttp.TCPConnector(
                ssl=credentials.to_gateway(found.authority_pem), resolver=_Loopback(), force_close=True
            )
            async with aiohttp.ClientSession(connector=to_gateway, headers=credentials.headers) as session:
                yield GatewayClient(session, f"https://{name}:{forward.port}", forward)


@dataclass(frozen=True)
class _Found:
    """Where the gateway is, and what proves it."""

    pod: str
    authority_pem: str


async def _find(
    apiserver: aiohttp.ClientSession, credentials: kubeconfig.Credentials, control_namespace: str
) -> _Found:
    base = f"/api/v1/namespaces/{quote(control_namespace)}"
    trust = await _get(apiserver, credentials, f"{base}/configmaps/{TRUST}", control_namespace)
    data: dict[str, str] = trust.get("data") or {}
    authority = data.get(GATEWAY_CA_PEM)
    if not authority:
        raise ClientError(
            f"ConfigMap {control_namespace}/{TRUST} has no {GATEWAY_CA_PEM} yet: see whether the operator is running"
            f" (kubectl get pods -n {control_namespace})."
        )
    pods = await _get(apiserver, credentials, f"{base}/pods?labelSelector={quote(GATEWAY_SELECTOR)}", control_namespace)
    ready = sorted(str(pod["metadata"]["name"]) for pod in pods["items"] if _is_ready(pod))
    if not ready:
        raise ClientError(
            f"no pod of the gateway is ready: see `kubectl get pods -n {control_namespace} -l {GATEWAY_SELECTOR}`."
        )
    return _Found(ready[0], authority)


def _is_ready(pod: dict[str, Any]) -> bool:
    status: dict[str, Any] = pod.get("status") or {}
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    leaving = pod["metadata"].get("deletionTimestamp") is not None
    return not leaving and any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)


async def _get(
    apiserver: aiohttp.ClientSession, credentials: kubeconfig.Credentials, path: str, control_namespace: str
) -> dict[str, Any]:
    try:
        async with apiserver.get(path, server_hostname=credentials.server_name) as answer:
            body = await answer.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        raise ClientError(f"the apiserver at {credentials.server} cannot be reached: {why}.") from error
    said = _json_object(body)
    match answer.status:
        case 200:
            return said
        case 401:
            raise ClientError(f"the apiserver at {credentials.server} does not know you: log in to the cluster again.")
        case 403:
            raise ClientError(
                f"{said.get('message')}. Ask an administrator to bind Role ambit-connect in namespace"
                f" {control_namespace} to you."
            )
        case 404:
            raise ClientError(
                f"Ambit is not in namespace {control_namespace} of this cluster ({said.get('message')}): install it, or"
                " name its namespace with --control-namespace."
            )
        case _:
            raise ClientError(f"the apiserver answered {answer.status}: {said.get('message')}.")


def _json_object(body: str) -> dict[str, Any]:
    """What the apiserver says; a proxy before it may say it in plain text."""
    try:
        return json.loads(body)
    except ValueError:
        return {"message": body.strip()}


class _Loopback(AbstractResolver):
    """Every name is the port-forward's address: the gateway's name is for its certificate."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        return
