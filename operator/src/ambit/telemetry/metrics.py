"""Every metric of Ambit, defined and documented once. Names begin with `ambit_`; units stand in the names.

Where the field has a standard name (controller-runtime's `…_reconcile_total`, `workqueue_depth`), ours is the same
behind the prefix.
"""

from prometheus_client import Counter, Gauge, Histogram

# -- process ------------------------------------------------------------
BUILD_INFO = Gauge("ambit_build_info", "Always 1; the version stands in the label.", ["version", "component"])

# -- traces -------------------------------------------------------------
TRACE_SPANS = Counter(
    "ambit_trace_spans_total",
    "Sampled spans, by what became of them: Exported, Failed (the collector did not take them), Dropped (too many were "
    "waiting, or the process ended).",
    ["result"],
)

# -- the apiserver ------------------------------------------------------
KUBE_REQUESTS = Counter(
    "ambit_kube_requests_total",
    "Requests to the apiserver, by method, resource and status (`none`: no answer).",
    ["method", "resource", "code"],
)
KUBE_RELISTS = Counter(
    "ambit_kube_relists_total", "Caches listed anew because their watch was too old (410).", ["resource"]
)
KUBE_UNDECODABLE = Counter(
    "ambit_kube_undecodable_total", "Objects kept out of a cache because they could not be read.", ["resource"]
)

# -- isolate host ---------------------------------------------------------
ISOLATE_SESSIONS = Gauge("ambit_isolate_sessions", "Sessions that run on this isolate host now.")
ISOLATE_OPENS = Counter(
    "ambit_isolate_opens_total",
    "Sessions asked of this isolate host, by how it went: Opened, or the reason it was refused for.",
    ["result"],
)
ISOLATE_SESSION_ENDS = Counter(
    "ambit_isolate_session_ends_total", "Sessions that ended on this isolate host, by reason.", ["reason"]
)
ISOLATE_OPEN_SECONDS = Histogram(
    "ambit_isolate_open_seconds",
    "From the gateway's request to the first byte of the agent's answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
ISOLATE_SHARD_STARTS = Counter(
    "ambit_isolate_shard_starts_total",
    "Shards (workerd processes) started, by what became of the one before: First, Recycled, Hung, Exited, "
    "UnloadFailed.",
    ["cause"],
)
ISOLATE_EGRESS_REFUSED = Counter(
    "ambit_isolate_egress_refused_total",
    "Requests of agents that this host did not pass on to the gateway, by reason: UnknownSession, TooManyRequests, "
    "Malformed, GatewayUnavailable.",
    ["reason"],
)

# -- operator -------------------------------------------------------------
RECONCILES = Counter(
    "ambit_reconcile_total",
    "Passes of a reconciler, by how they ended: success, conflict (somebody else wrote first), error (apiserver or "
    "ledger), defect (a bug).",
    ["controller", "result"],
)
RECONCILE_SECONDS = Histogram(
    "ambit_reconcile_duration_seconds",
    "How long one pass of a reconciler took.",
    ["controller"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
WORKQUEUE_DEPTH = Gauge("ambit_workqueue_depth", "Objects waiting for a reconciler, delayed ones too.", ["controller"])
WATCH_VANISHED = Counter(
    "ambit_watch_vanished_total", "Objects that vanished unseen by the watch and were found by a list.", ["resource"]
)
SANDBOXES = Gauge("ambit_sandboxes", "Sandboxes by the reason of their Ready condition.", ["reason"])
SANDBOX_START_SECONDS = Histogram(
    "ambit_sandbox_start_seconds",
    "From a Sandbox's creation to its container's start, by the apiserver's and the node's clocks.",
    buckets=(0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 120, 300),
)
SANDBOX_ENDS = Counter("ambit_sandbox_ends_total", "Container sessions that ended, by reason.", ["reason"])

# -- ledger ---------------------------------------------------------------
LEDGER_OPERATIONS = Counter(
    "ambit_ledger_operations_total",
    "Operations answered, by who asked, what, and the kind of answer.",
    ["component", "operation", "result"],
)
LEDGER_REFUSALS = Counter(
    "ambit_ledger_refusals_total",
    "Holds that were not granted: result is Refused (final) or Wait; kind is that of the account in the way. Shadow: "
    "it was granted, and an account in Shadow would have refused it. Not exactly once: what a gateway refused in the "
    "ledger's place counts twice where the answer to its count was lost, and not where it died within the second.",
    ["result", "reason", "kind", "window", "resource"],
)
BUDGET_REFUSALS = Counter(
    "ambit_budget_refusals_total",
    "Calls and runtime that a Budget's limit refused for good (result Refused), or would have refused (Shadow).",
    ["namespace", "budget", "window", "resource", "result"],
)
LEDGER_WARNINGS = Counter(
    "ambit_ledger_warnings_total",
    "Percentages of limits (`warnAt`) that what is spent has reached, each once in a window.",
    ["kind", "window", "resource", "percent"],
)
LEDGER_PARKED = Counter("ambit_ledger_parked_sessions_total", "Sessions that an exhausted account parked.")
LEDGER_WOKEN = Counter("ambit_ledger_woken_sessions_total", "Parked sessions that were let go on.")
LEDGER_EXPIRED_HOLDS = Counter(
    "ambit_ledger_expired_holds_total", "Holds that nobody settled in time; each was charged in full."
)
LEDGER_OVERRUNS = Counter(
    "ambit_ledger_overruns_total",
    "Settlements above their hold, by resource: each is a defect of the holder's bound.",
    ["resource"],
)
LEDGER_KILL_SECONDS = Histogram(
    "ambit_ledger_kill_seconds",
    "From a kill until nothing of its subtree acted any more, by how that is known: Observed, or Presumed of a holder "
    "that kept silent until all that it held had expired.",
    ["how"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600),
)
LEDGER_COMMIT_SECONDS = Histogram(
    "ambit_ledger_commit_seconds",
    "How long a batch took to be on the disk.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1, 5),
)
LEDGER_COMMIT_CHANGES = Histogram(
    "ambit_ledger_commit_changes", "How many changes shared one commit.", buckets=(1, 2, 5, 10, 25, 50, 100, 250, 1000)
)
LEDGER_EPOCH = Gauge(
    "ambit_ledger_epoch",
    "Which writer of its journal this ledger is or was: each has a higher one. Of partitions: of the one taken last.",
)
LEDGER_WRITER = Gauge(
    "ambit_ledger_writer", "How many journals this ledger writes: 0 while it stands by; of partitions, its share."
)
LEDGER_UNABLE = Gauge(
    "ambit_ledger_given_up_partitions",
    "Partitions that this ledger leaves to the others for ten minutes, because it tried and could not write them.",
)
LEDGER_FOLLOWED = Gauge("ambit_ledger_followed_partitions", "Partitions that this ledger follows, and does not write.")
LEDGER_HANDOVERS = Counter(
    "ambit_ledger_handovers_total", "Partitions that this ledger gave to their first choice among those alive."
)
LEDGER_TERMS = Counter(
    "ambit_ledger_terms_total",
    "How this ledger's times as the writer ended: Stopped, Fenced (another took over), JournalFailed.",
    ["cause"],
)
LEDGER_STANDBY_LAG = Gauge(
    "ambit_ledger_standby_lag_batches",
    "How many batches it had yet to take up of what it follows, when it last looked.",
)
LEDGER_REPLAY_SECONDS = Gauge(
    "ambit_ledger_replay_seconds",
    "How long it last took to become the writer, of a partition too, with all that was journalled taken up.",
)
LEDGER_SNAPSHOTS = Counter(
    "ambit_ledger_snapshots_total",
    "Snapshots, by how it went: Made, Failed (the journal only grows meanwhile).",
    ["result"],
)
LEDGER_SNAPSHOT_SECONDS = Histogram(
    "ambit_ledger_snapshot_seconds",
    "How long a snapshot took; the writer went on meanwhile.",
    buckets=(0.5, 1, 2, 5, 10, 20, 60, 300),
)
LEDGER_SNAPSHOT_CHANGES = Gauge(
    "ambit_ledger_changes_since_snapshot",
    "Changes that would have to be replayed: the age of the last snapshot. Of partitions: where it committed last.",
)
LEDGER_SETTLING_ONLY = Gauge(
    "ambit_ledger_settling_only", "1 while the disk has only the space left that is kept back for settlements."
)
LEDGER_SYNCHRONOUS_STANDBY = Gauge(
    "ambit_ledger_synchronous_standby",
    "Of the writer over PostgreSQL: 1 where commits wait for a synchronous standby, 0 where a failover can lose them.",
)
LEDGER_CLOCK_DOUBTED = Gauge(
    "ambit_ledger_clock_doubted",
    "1 while the ledger's machine shows a time that nothing else bears out: no window begins by it. Of partitions: in "
    "how many of those that this ledger writes it is so.",
)
# Read from the ledger's tree when it is scraped, hence names and help alone.
LEDGER_OPEN_SESSIONS = ("ambit_ledger_open_sessions", "Sessions that have not ended.")
LEDGER_OPEN_HOLDS = ("ambit_ledger_open_holds", "Holds that are neither settled nor expired.")
BUDGET_LIMIT = ("ambit_budget_limit", "A Budget's limit in its window: dollars, tokens, calls, seconds.")
BUDGET_SPENT = ("ambit_budget_spent", "What is spent of it in the running window, in the same unit.")
BUDGET_HELD = ("ambit_budget_held", "What is held of it for acts under way, in the same unit.")

# -- sessions of people and services ----------------------------------------
SESSIONS_OPENED = Counter("ambit_sessions_opened_total", "Sessions opened at the gateway.", ["environment"])
SESSIONS_RUNNING = Gauge(
    "ambit_sessions_running", "Sessions whose callers are connected to this gateway.", ["environment"]
)
SESSION_ENDS = Counter(
    "ambit_session_ends_total", "Sessions opened at this gateway that ended, by reason.", ["environment", "reason"]
)
SESSION_START_SECONDS = Histogram(
    "ambit_session_start_seconds",
    "From the request for a session until its environment ran: an isolate's first answer, a container's start.",
    ["environment"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
ISOLATE_PLACES = Counter(
    "ambit_isolate_places_total",
    "Isolate hosts asked for a place for a session, by answer: Taken, Full (the next is asked), NoAnswer.",
    ["result"],
)
ISOLATE_ENDS_UNCONFIRMED = Counter(
    "ambit_isolate_ends_unconfirmed_total",
    "Isolate sessions whose host did not confirm their end within the runtime that was held: charged all of it, and "
    "may have run for longer.",
)
PEOPLE_REQUESTS = Counter(
    "ambit_people_requests_total",
    "Requests of people and services, by what was asked and the status and reason of the answer (empty: not refused).",
    ["call", "code", "reason"],
)

# -- gateway: the data path -------------------------------------------------
GATEWAY_REQUESTS = Counter(
    "ambit_gateway_requests_total",
    "Model calls by route (`none`: refused before one was chosen) and outcome: Completed, Refused, UpstreamRefused, "
    "UpstreamFailed, Cut, ClientGone.",
    ["route", "outcome"],
)
REFUSALS = Counter(
    "ambit_refusals_total",
    "Refusals at the gateway by reason, and where a bound stands in the way by its resource, its window, and the level "
    "of the account whose it is: budget, agent, user, session.",
    ["reason", "resource", "window", "level"],
)
GATEWAY_TOKENS = Counter(
    "ambit_gateway_tokens_total",
    "Tokens that providers reported, by route and kind: input, cache_read, cache_write, output.",
    ["route", "kind"],
)
GATEWAY_COST = Counter(
    "ambit_gateway_cost_usd_nanos_total", "Cost charged for model calls, in nano-dollars, by route.", ["route"]
)
GATEWAY_UNKNOWN_USAGE = Counter(
    "ambit_gateway_unknown_usage_total",
    "Calls whose usage the provider did not report, or not for good: the whole hold was charged.",
    ["route"],
)
GATEWAY_ADMISSION_SECONDS = Histogram(
    "ambit_gateway_admission_seconds",
    "What the gateway adds before a call is sent: from the request's last byte to the provider, queueing included.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 20),
)
GATEWAY_QUEUE_SECONDS = Histogram(
    "ambit_gateway_queue_seconds",
    "How long calls waited for room that others held, by how that ended: Admitted, Refused, ClientGone. It is part of "
    "ambit_gateway_admission_seconds.",
    ["result"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30),
)
GATEWAY_FIRST_TOKEN_SECONDS = Histogram(
    "ambit_gateway_time_to_first_token_seconds",
    "From sending a streamed call to its model's server until the first piece of the answer came, by route.",
    ["route"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64),
)
GATEWAY_OUTPUT_TOKEN_SECONDS = Histogram(
    "ambit_gateway_time_per_output_token_seconds",
    "Of streamed answers that were completed: from the first piece to the last, for each token after the first, by "
    "route.",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
GATEWAY_UPSTREAM_ERRORS = Counter(
    "ambit_gateway_upstream_errors_total",
    "Failures of model servers by route and kind: Unreachable, BrokenOff, Silent, or the HTTP status.",
    ["route", "kind"],
)
GATEWAY_FALLBACKS = Counter(
    "ambit_gateway_fallbacks_total",
    "Attempts whose call went on to another backend, by route, the backend that failed it, and how: RateLimited, "
    "Unavailable, Timeout. Calls sent = requests that were not refused + this.",
    ["route", "backend", "cause"],
)
GATEWAY_BACKEND_OUT = Counter(
    "ambit_gateway_backend_out_total",
    "How often a backend was called no more for a while, by the last failure before.",
    ["route", "backend", "cause"],
)
GATEWAY_BACKENDS_OUT = Gauge("ambit_gateway_backends_out", "Backends that this gateway calls no more for a while, now.")
GATEWAY_BACKEND_WAITS = Counter(
    "ambit_gateway_backend_waits_total",
    "Calls that waited for a backend with as many under way as it may (`maxConcurrent`), by how that ended: Admitted, "
    "Full (20 s were over), Ended (its client, session or hold was gone).",
    ["route", "backend", "result"],
)
GATEWAY_UPSTREAM_CONNECTIONS = Counter(
    "ambit_gateway_upstream_connections_total",
    "Connections to model servers that calls were sent on: New, Reused, Failed (none could be made).",
    ["result"],
)
GATEWAY_WORKER_STARTS = Counter(
    "ambit_gateway_worker_starts_total",
    "Worker processes started, by what became of the one before: First, Exited, Hung (it did not answer its probes).",
    ["cause"],
)
GATEWAY_HOLDS = Gauge("ambit_gateway_holds", "Holds of this gateway for calls under way.")
GATEWAY_QUEUE = Gauge("ambit_gateway_queue", "Calls that wait for room which others hold.")
GATEWAY_STREAMS_CUT = Counter(
    "ambit_gateway_cuts_total",
    "Calls ended from outside before their answer was complete, by cause: SessionEnded, HoldLost, HoldUsedUp, "
    "Stopping.",
    ["cause"],
)
GATEWAY_SETTLEMENTS = Counter(
    "ambit_gateway_settlements_total",
    "Holds ended, by the ledger's answer: Settled, Released, AlreadySettled, or an error's name.",
    ["result"],
)
GATEWAY_HOLDS_AHEAD = Counter(
    "ambit_gateway_holds_ahead_total",
    "Model calls by the hold that was made ahead of them: Found, Awaited (it was just being asked for), Extended (too "
    "small), Confirmed (the ledger had not been heard for 75 ms), None. All but Found wait for a commit.",
    ["result"],
)
GATEWAY_HOLDS_AHEAD_ASKED = Counter(
    "ambit_gateway_holds_ahead_asked_total",
    "Holds asked for ahead of a call, by the ledger's answer: Granted; Wait or Refused where no room is to spare.",
    ["result"],
)
GATEWAY_HOLDS_AHEAD_GIVEN_BACK = Counter(
    "ambit_gateway_holds_ahead_given_back_total",
    "Holds ahead that no call used, by cause: Unused for 15 s, Recalled, SessionEnded, Resynchronised.",
    ["cause"],
)
GATEWAY_HOLDS_AHEAD_UNUSED = Gauge("ambit_gateway_holds_ahead_unused", "Holds ahead that wait for their call.")
GATEWAY_WARNINGS = Counter(
    "ambit_gateway_warnings_total",
    "Warnings of the ledger that were passed on to clients, by resource, window and percent of the limit.",
    ["resource", "window", "percent"],
)
GATEWAY_SLICES = Counter(
    "ambit_gateway_slices_total",
    "Further slices of output that streams asked to hold, by the ledger's answer: Granted, Wait (others hold the "
    "room), Refused (what is spent leaves none).",
    ["result"],
)
GATEWAY_OVERRUNS = Counter(
    "ambit_gateway_overruns_total", "Calls that used more than was held for them; the ledger recorded each."
)
