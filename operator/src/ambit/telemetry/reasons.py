"""The reasons that status, Events, metrics, errors and the ledger share: one table, one word per cause.

A reason is CamelCase (the Kubernetes API conventions) and is documented where it is defined. Every process takes its
words from here, so that what `kubectl get` shows, what a dashboard counts and what a client is told are the same.
"""

from enum import StrEnum


class SessionEnd(StrEnum):
    """Why a session ended; the ledger keeps it with the session's account."""

    COMPLETED = "Completed"
    """The agent answered, or its container exited with code 0."""
    FAILED = "Failed"
    """The agent raised an error, or its container exited with another code."""
    KILLED = "Killed"
    """A person, a service or the caller's going away ended it."""
    RUNTIME_EXHAUSTED = "RuntimeExhausted"
    """No further slice of runtime was granted, by the session's own bound or by a Budget above it."""
    ABANDONED = "Abandoned"
    """Nobody held anything for it any more: its holder is gone."""
    HOST_LOST = "HostLost"
    """The isolate host, its shard, or the node went away under it."""
    START_FAILED = "StartFailed"
    """Its environment could not be started: image, quota, Pod Security."""
    ACCOUNT_REMOVED = "AccountRemoved"
    """Its Agent or a Budget above it was deleted."""


class Refusal(StrEnum):
    """Why the gateway refused a request (`x-ambit-reason`, and the `reason` of `ambit_refusals_total`)."""

    LIMIT_EXCEEDED = "LimitExceeded"
    """A limit of a Budget, or a bound of the session, leaves no room (402; 429 where the window is a Minute)."""
    ROOM_HELD = "RoomHeld"
    """Room is only held by others, and none came free in time (429)."""
    SESSION_ENDED = "SessionEnded"
    """The session has ended or was killed (402)."""
    MODEL_NOT_ALLOWED = "ModelNotAllowed"
    """The Agent does not name such a model (403)."""
    ROUTE_UNUSABLE = "RouteUnusable"
    """The model's route is missing, forbidden or not ready (403)."""
    CREDENTIAL_FORBIDDEN = "CredentialForbidden"
    """The namespace of the route has not let the gateway read its Secret (403)."""
    HOST_NOT_ALLOWED = "HostNotAllowed"
    """Nothing but the gateway may be reached (403)."""
    FEATURE_NOT_BOUNDED = "FeatureNotBounded"
    """The request asks for something whose bill cannot be bounded before it is sent (403)."""
    UNAUTHENTICATED = "Unauthenticated"
    """Identity is missing, forged or expired (401)."""
    FORBIDDEN = "Forbidden"
    """RBAC does not allow it (403)."""
    MALFORMED = "Malformed"
    """The request is malformed or ambiguous (400)."""
    TOO_LARGE = "TooLarge"
    """The request is larger than the gateway reads (413)."""
    NOT_FOUND = "NotFound"
    """There is no such path, Agent or session (404)."""
    NOT_YET_KNOWN = "NotYetKnown"
    """The Agent, its account or its environment has not arrived yet (503)."""
    LEDGER_AWAY = "LedgerAway"
    """The ledger did not answer in time, and nothing is admitted without it (503)."""
    UPSTREAM_FAILED = "UpstreamFailed"
    """The model's server could not be reached, or broke off before it answered (502)."""
