"""The listeners' side of the data path: which path means what, and how a refusal looks there."""

import logging
from typing import Protocol

from ambit.gateway.calls import Calls
from ambit.gateway.identity.session_directory import Session
from ambit.gateway.models.surfaces import ModelQuestion, asked_for, surface_of
from ambit.gateway.models.wire_format import RefusedCall, Surface
from ambit.gateway.routes.allowed_models import AllowedModels
from ambit.gateway.server.connection import Exchange
from ambit.gateway.server.http import Request, Response
from ambit.gateway.server.parser import BadRequest
from ambit.telemetry import metrics
from ambit.telemetry.reasons import Refusal

_log = logging.getLogger(__name__)


class Identifier(Protocol):
    """A listener's way to know who calls."""

    async def identify(self, request: Request) -> Session:
        """Raises RefusedCall."""
        ...


class DataPath:
    """Serves one listener: sandboxes (8080) or isolate hosts (8081); they differ in how a caller proves itself."""

    def __init__(self, identifier: Identifier, calls: Calls, models: AllowedModels) -> None:
        self._identifier = identifier
        self._calls = calls
        self._models = models

    async def handle(self, request: Request, exchange: Exchange) -> None:
        surface = surface_of(request.path)
        try:
            await self._serve(surface, request, exchange)
        except RefusedCall as refusal:
            _count(refusal)
            if not exchange.started:
                exchange.respond(surface.refuse(refusal))
        except Exception:  # noqa: BLE001 -- the edge of the process: logged whole, the client is told that it was us
            _log.exception("%s %s failed", request.method, request.path)
            refusal = RefusedCall(500, Refusal.INTERNAL, "the gateway failed; its log says more")
            _count(refusal)
            if exchange.started:
                exchange.abort()
            else:
                exchange.respond(surface.refuse(refusal))

    def refuse(self, path: str, refusal: BadRequest) -> Response:
        """The answer to a request that could not be read."""
        reason = {413: Refusal.TOO_LARGE, 431: Refusal.TOO_LARGE, 503: Refusal.STOPPING}.get(
            refusal.status, Refusal.MALFORMED
        )
        refused = RefusedCall(
            refusal.status, reason, refusal.message, retry_after_s=1 if refusal.status == 503 else None
        )
        _count(refused)
        return surface_of(path).refuse(refused)

    async def _serve(self, surface: Surface, request: Request, exchange: Exchange) -> None:
        if not request.is_origin_form:
            await self._identifier.identify(request)
            raise RefusedCall(
                403, Refusal.HOST_NOT_ALLOWED, f"{_host(request)} is not allowed: nothing but the gateway is reachable"
            )
        if request.method == "HEAD" and request.path == "/":
            exchange.respond(Response(200, (), b""))
            return
        asked = asked_for(surface, request.method, request.path)
        session = await self._identifier.identify(request)
        if isinstance(asked, ModelQuestion):
            exchange.respond(self._models_of(session, surface, asked))
        else:
            await self._calls.serve(asked, request, session, exchange)

    def _models_of(self, session: Session, surface: Surface, asked: ModelQuestion) -> Response:
        names = self._models.names(session, surface.provider)
        if asked.name is None:
            body = surface.model_list(names)
        elif asked.name in names:
            body = surface.model(asked.name)
        else:
            known = ", ".join(names) or "none"
            message = f"model {asked.name!r} is not among this agent's models of this format: {known}"
            raise RefusedCall(403, Refusal.MODEL_NOT_ALLOWED, message, field="model")
        return Response(200, ((b"content-type", b"application/json"),), body)


def _host(request: Request) -> str:
    """The host that a request to a proxy is for."""
    target = request.target if request.method == "CONNECT" else request.target.partition("://")[2]
    return target.partition("/")[0].rpartition("@")[2] or "the host"


def _count(refusal: RefusedCall) -> None:
    resource, _, window = refusal.details.bound.partition(" per ") if refusal.details else ("", "", "")
    level = refusal.details.account.partition("/")[0] if refusal.details else ""
    metrics.REFUSALS.labels(refusal.reason.value, resource, window, level).inc()
    metrics.GATEWAY_REQUESTS.labels("none", "Refused").inc()
    fields = {
        "status": refusal.status,
        "reason": refusal.reason.value,
        # A name that stands twice may be anything; what is malformed is no field that the gateway knows.
        "field": refusal.field if refusal.reason is not Refusal.MALFORMED else None,
        "account": refusal.details.account if refusal.details else None,
        "bound": refusal.details.bound if refusal.details else None,
    }
    _log.info("refused", extra={"fields": fields})
