"""Who a person or service is, and what they may do: the cluster's own answers, never ours.

A bearer token is reviewed by the apiserver and the answer kept for a minute at most; a client certificate was verified
against the cluster's client authority by the TLS handshake (`authority`) and names user and groups as Kubernetes reads
them. RBAC decides in both cases.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final, TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambit.api.names import GROUP
from ambit.gateway.models.wire_format import RefusedCall
from ambit.gateway.refusals import apiserver_away
from ambit.gateway.sessions.refusals import refused
from ambit.kube import Access, ApiError, Identity, KubeClient
from ambit.telemetry.reasons import Refusal

K = TypeVar("K")
V = TypeVar("V")

IDENTITY_MAX_AGE_S: Final = 60.0
REJECTION_MAX_AGE_S: Final = 5.0
ACCESS_MAX_AGE_S: Final = 10.0
"""How long a permission is kept; a denial is asked for again each time."""
REMEMBERED: Final = 10_000
AUTHENTICATED: Final = "system:authenticated"


@dataclass(frozen=True)
class _Remembered:
    value: Identity | None
    until_s: float


class People:
    """Authenticates and authorizes, by the apiserver."""

    def __init__(self, client: KubeClient, clock: Callable[[], float] = monotonic) -> None:
        self._client = client
        self._clock = clock
        self._identities: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._permissions: OrderedDict[tuple[Identity, Access], float] = OrderedDict()

    async def by_token(self, token: str) -> Identity:
        """Whose bearer token it is. Raises RefusedCall (401; 503 where the apiserver does not answer)."""
        key = hashlib.sha256(token.encode()).digest()
        remembered = self._identities.get(key)
        if remembered is None or remembered.until_s <= self._clock():
            try:
                identity = await self._client.token_review(token)
            except ApiError as error:
                raise _apiserver_away(error) from error
            age_s = REJECTION_MAX_AGE_S if identity is None else IDENTITY_MAX_AGE_S
            remembered = _Remembered(identity, self._clock() + age_s)
            _remember(self._identities, key, remembered)
        if remembered.value is None:
            raise refused(
                Refusal.UNAUTHENTICATED,
                "the cluster does not accept this token: log in again, and see whether `kubectl auth whoami` answers",
            )
        return remembered.value

    async def check(self, identity: Identity, verb: str, namespace: str, agent: str) -> None:
        """Whether the identity may do `verb` on an Agent's sessions (empty: on all). Raises RefusedCall (403, 503)."""
        access = Access(verb, GROUP, "agents", "sessions", namespace, agent)
        key = (identity, access)
        if self._permissions.get(key, 0.0) > self._clock():
            return
        try:
            allowed = await self._client.subject_access_review(identity, access)
        except ApiError as error:
            raise _apiserver_away(error) from error
        if not allowed:
            raise refused(
                Refusal.FORBIDDEN,
                f"user {identity.username!r} may not {verb} agents/sessions of group {GROUP}"
                f" in namespace {namespace!r}: an administrator grants it by a RoleBinding to ClusterRole"
                f" {'ambit-view' if verb in ('get', 'list') else 'ambit-edit'}",
            )
        _remember(self._permissions, key, self._clock() + ACCESS_MAX_AGE_S)


def by_certificate(der: bytes, now: datetime) -> Identity:
    """Whom a client certificate names: user = CN, groups = O, as Kubernetes does. Raises RefusedCall (401).

    That it was signed by the cluster's authority is the TLS handshake's to check, and was; that it is meant for
    clients and still valid is checked at each request, since a connection may outlive it.
    """
    certificate = x509.load_der_x509_certificate(der)
    if not certificate.not_valid_before_utc <= now.astimezone(UTC) <= certificate.not_valid_after_utc:
        raise refused(Refusal.UNAUTHENTICATED, "the client certificate is not valid at this time: renew it")
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usages = None
    if usages is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise refused(Refusal.UNAUTHENTICATED, "the certificate is not meant for clients (no client-auth key usage)")
    users = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if len(users) != 1 or not users[0]:
        raise refused(Refusal.UNAUTHENTICATED, "the client certificate names no user (no common name)")
    return Identity(users[0], (*groups, AUTHENTICATED))


def nobody() -> RefusedCall:
    """Neither token nor certificate."""
    return refused(
        Refusal.UNAUTHENTICATED,
        "give a bearer token that the cluster accepts, or a client certificate of the cluster's client authority",
    )


def _apiserver_away(error: ApiError) -> RefusedCall:
    return apiserver_away(f"identity and rights cannot be checked: {error.message}")


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
