"""Who may talk to this host: the gateway, and nobody else.

The gateway signs each request with a JWT for this one pod that lives a minute at most. A NetworkPolicy keeps others
from the port as well; this holds where none is enforced.
"""

from datetime import UTC, datetime

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ambit.api.names import ISOLATE_HOST_AUDIENCE

LONGEST_LIFE_S = 60
CLOCK_SKEW_S = 5


class Unauthenticated(Exception):
    """The request does not come from the gateway, or was meant for another pod. The text is for our log."""


class GatewayIdentity:
    """Checks the `Authorization` header of requests from the gateway."""

    def __init__(self, public_key_pem: str, pod_uid: str) -> None:
        """Raises ValueError where the key is none, or not Ed25519."""
        key = load_pem_public_key(public_key_pem.encode())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("the gateway's public key has to be an Ed25519 key")
        self._key = key
        self._pod_uid = pod_uid

    def check(self, authorization: str | None, now: datetime | None = None) -> None:
        """Raises Unauthenticated."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("no bearer token")
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["EdDSA"],
                audience=ISOLATE_HOST_AUDIENCE,
                leeway=CLOCK_SKEW_S,
                options={"require": ["exp", "aud", "sub"]},
            )
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(str(error)) from error
        if claims["sub"] != self._pod_uid:
            raise Unauthenticated("the token is for another pod")
        lives_s = int(claims["exp"]) - (now or datetime.now(UTC)).timestamp()
        if lives_s > LONGEST_LIFE_S + CLOCK_SKEW_S:
            raise Unauthenticated(f"the token lives {lives_s:.0f} s; {LONGEST_LIFE_S} is the most")
