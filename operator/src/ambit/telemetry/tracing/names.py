"""The name of every span and attribute of Ambit, each defined and documented once.

Where OpenTelemetry's semantic conventions have a name, ours is theirs: `gen_ai.*` of the conventions for generative AI
(status Development, as of conventions 1.41: github.com/open-telemetry/semantic-conventions-genai), `error.type`,
`server.*`, `http.*` of the stable ones. No attribute ever holds a message, a key, a token, or a sentence that may quote
one: errors are told by their type or reason alone.
"""

from enum import StrEnum


class SpanName(StrEnum):
    """What is traced. A model call is renamed `{operation} {model}` once its model is known to be allowed."""

    MODEL_CALL = "model call"
    """One call of a known session, from its whole request to its settlement's being on its way."""
    ADMISSION = "admission"
    """Its hold: found ahead, extended, taken at the ledger, or queued for."""
    UPSTREAM = "upstream"
    """The exchange with the provider."""
    SETTLEMENT = "settlement"
    """From a settlement's or release's being handed to the ledger's client until the ledger has acknowledged it."""
    SESSION_OPEN = "session open"
    """A session asked for by a person or service, until its environment is begun."""
    ISOLATE_OPEN = "isolate open"
    """The request to an isolate host to run a session, until the head of the agent's answer."""
    LEDGER_BATCH = "ledger batch"
    """A batch of operations answered by the ledger; made only where a caller of one of them is sampled."""
    LEDGER_COMMIT = "ledger commit"
    """The wait of a batch for the disk, shared with all others that wait for the same commit."""
    LEDGER_RECOVERY = "ledger recovery"
    """A ledger's taking up its journal at its start."""
    LEDGER_TAKEOVER = "ledger takeover"
    """A ledger that stood by becoming the writer."""
    LEDGER_SNAPSHOT = "ledger snapshot"
    """A snapshot being made by its own process and adopted."""
    RECONCILE = "reconcile"
    """One pass of a reconciler of the operator over one object."""


class Attribute(StrEnum):
    """What a span says."""

    # -- generative AI ----------------------------------------------------
    OPERATION = "gen_ai.operation.name"
    """`chat`, `generate_content` (Gemini), `embeddings`, or `count_tokens`, which is a name of our own."""
    PROVIDER = "gen_ai.provider.name"
    """`openai`, `anthropic` or `gcp.gemini`: whose wire format it is."""
    REQUEST_MODEL = "gen_ai.request.model"
    """The Agent's name for the model; only names that the Agent has."""
    REQUEST_STREAM = "gen_ai.request.stream"
    REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
    """What the provider is told: the client's wish within what is held."""
    REQUEST_CHOICES = "gen_ai.request.choice.count"
    """Where it is not 1."""
    RESPONSE_MODEL = "gen_ai.response.model"
    """The model's name at the backend: the route's, not a word of the answer."""
    TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
    """Of a streaming call: seconds from the request's being sent to the first piece of the answer's body."""
    INPUT_TOKENS = "gen_ai.usage.input_tokens"
    """All input, what was read from and written to the provider's cache included."""
    CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
    CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
    # -- general ------------------------------------------------------------
    ERROR_TYPE = "error.type"
    """A reason of Ambit's (`Refusal`, `Ending`, `CutCause`), an HTTP status of 400 or more, or an exception's type."""
    SERVER_ADDRESS = "server.address"
    SERVER_PORT = "server.port"
    HTTP_METHOD = "http.request.method"
    HTTP_STATUS = "http.response.status_code"
    # -- Ambit ----------------------------------------------------------------
    SESSION = "ambit.session"
    """The session's account, `session/NAMESPACE/NAME`."""
    AGENT = "ambit.agent"
    """The Agent, `NAMESPACE/NAME`."""
    ROUTE = "ambit.route"
    """The ModelRoute, `NAMESPACE/NAME`."""
    BACKEND = "ambit.backend"
    ENVIRONMENT = "ambit.environment"
    """`container` or `isolate`."""
    HOLD = "ambit.hold"
    """How a call came by its hold (`HoldFrom`)."""
    COST = "ambit.cost.usd_nanos"
    """What the call is charged, in nano-dollars."""
    USAGE_KNOWN = "ambit.usage.known"
    """False: the provider did not report its usage, and the most that it can have been is charged."""
    ENDING = "ambit.ending"
    """How a relayed call ended: Completed, BrokenOff, Silent, ClientGone, Cut."""
    REFUSAL_REASON = "ambit.refusal.reason"
    """Why the gateway refused it (`ambit.telemetry.reasons.Refusal`)."""
    BOUND = "ambit.bound"
    """The bound in the way, `usd per Day`."""
    BOUND_ACCOUNT = "ambit.bound.account"
    """The account whose bound it is."""
    RESULT = "ambit.result"
    """The ledger's answer to a settlement; how a reconciler's pass ended."""
    COMPONENT = "ambit.component"
    """Whose batch the ledger answers: gateway, operator."""
    OPERATIONS = "ambit.ledger.operations"
    """How many operations a batch has."""
    ACCOUNTS = "ambit.ledger.accounts"
    """How many accounts they name; of a recovery, how many there are."""
    REFUSALS = "ambit.ledger.refusals"
    """How many of them were answered Refused or Wait."""
    EPOCH = "ambit.ledger.epoch"
    SEQUENCE = "ambit.ledger.sequence"
    """The last batch of the journal that a snapshot stands for."""
    CONTROLLER = "ambit.controller"
    OBJECT = "ambit.object"
    """The object that is reconciled, `NAMESPACE/NAME`."""


class SpanEvent(StrEnum):
    """A moment within a span."""

    FIRST_BYTE = "first byte"
    """The head of the provider's answer has come."""
    QUEUED = "queued"
    """The call begins to wait for room that others hold."""


class HoldFrom(StrEnum):
    """How a call came by its hold: the values of `ambit.hold`, as `ambit_gateway_holds_ahead_total` has them."""

    FOUND = "Found"
    """It was held ahead."""
    AWAITED = "Awaited"
    """It was just being asked for."""
    EXTENDED = "Extended"
    """It was held ahead, and too small."""
    CONFIRMED = "Confirmed"
    """It was held ahead, and the ledger had not been heard lately."""
    LEDGER = "Ledger"
    """It was asked for at the ledger."""
    QUEUED = "Queued"
    """It was waited for."""
