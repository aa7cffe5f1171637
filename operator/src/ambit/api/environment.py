"""Where an agent runs: a V8 isolate in a shared host, or a container of its own."""

from enum import StrEnum
from typing import Annotated, ClassVar

from annotated_types import Ge, MaxLen, MinLen

from ambit.api.base import ApiModel, Doc, ListMap, Rule
from ambit.api.common import LocalRef, SecretKeyRef
from ambit.api.fields import DataKey, Name, Quantity

RESERVED_ENVIRONMENT_NAMES: tuple[str, ...] = (
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "GEMINI_API_KEY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "HOME",
)
"""Set by Ambit in every container, in any letter case; with them the session could be led past its bounds' messages."""
RESERVED_ENVIRONMENT_PREFIX = "AMBIT_"


class ConfigMapCode(ApiModel):
    """An agent's code in a ConfigMap: each key is one JavaScript module."""

    config_map_ref: Annotated[
        LocalRef, Doc("The ConfigMap; together its modules are at most 900 KiB.", example="{name: researcher}")
    ]
    main: Annotated[DataKey, Doc("The key of the module whose default export has `fetch`.", example="index.js")] = (
        "agent.js"
    )


class PoolRef(ApiModel):
    """Names a SandboxPool in the same namespace."""

    name: Annotated[Name, Doc("The SandboxPool's name, in the same namespace.", example="research")] = "default"


class IsolateEnvironment(ApiModel):
    """A V8 isolate with its own SQLite, in a host that the namespace's isolates share."""

    code: Annotated[ConfigMapCode, Doc("The agent's JavaScript.", example="{configMapRef: {name: researcher}}")]
    pool_ref: Annotated[PoolRef, Doc("The SandboxPool whose hosts run it.", example="{name: research}")] = PoolRef()


class ConfigMapKeyRef(ApiModel):
    """Names one key of a ConfigMap in the same namespace."""

    name: Annotated[Name, Doc("The ConfigMap's name, in the same namespace.", example="settings")]
    key: Annotated[DataKey, Doc("The key of its data.", example="region")]


class VariableSource(ApiModel):
    """Where a variable's value comes from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretKeyRef) != has(self.configMapKeyRef)",
            "give exactly one of secretKeyRef and configMapKeyRef",
        ),
    )
    secret_key_ref: Annotated[
        SecretKeyRef | None,
        Doc("A key of a Secret.", example="{name: database, key: password}", absent="not from a Secret"),
    ] = None
    config_map_key_ref: Annotated[
        ConfigMapKeyRef | None,
        Doc("A key of a ConfigMap.", example="{name: settings, key: region}", absent="not from a ConfigMap"),
    ] = None


class Variable(ApiModel):
    """An environment variable, in PodSpec's shape."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!(has(self.value) && has(self.valueFrom))", "give value or valueFrom, not both"),
    )
    name: Annotated[
        str,
        MinLen(1),
        MaxLen(256),
        Rule(
            "self.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$')",
            "write letters, digits, '_', '-' and '.', not starting with a digit",
        ),
        Rule(
            f"!self.upperAscii().startsWith('{RESERVED_ENVIRONMENT_PREFIX}')"
            f" && !(self.upperAscii() in {list(RESERVED_ENVIRONMENT_NAMES)})",
            "choose another name: Ambit itself sets AMBIT_*, OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL,"
            " ANTHROPIC_API_KEY, GOOGLE_GEMINI_BASE_URL, GEMINI_API_KEY, HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY"
            " and HOME, so that the gateway is the only way out",
        ),
        Doc("The variable's name; those that Ambit sets itself are refused.", example="REGION"),
    ]
    value: Annotated[str | None, MaxLen(32768), Doc("Its value.", example="eu", absent="empty, or from valueFrom")] = (
        None
    )
    value_from: Annotated[
        VariableSource | None,
        Doc(
            "Where its value comes from.",
            example="{secretKeyRef: {name: database, key: password}}",
            absent="from value",
        ),
    ] = None


ResourceAmounts = Annotated[dict[str, Quantity], MaxLen(16)]


class Resources(ApiModel):
    """CPU, memory and other resources, in PodSpec's shape."""

    requests: Annotated[
        ResourceAmounts | None,
        Doc(
            "What the scheduler sets aside.",
            example="{cpu: 250m, memory: 256Mi}",
            unit="Kubernetes quantities: cores, bytes",
            absent="as limits",
        ),
    ] = None
    limits: Annotated[
        ResourceAmounts | None,
        Doc(
            "What it may use at most.",
            example='{cpu: "1", memory: 1Gi}',
            unit="Kubernetes quantities: cores, bytes",
            absent="none but the namespace's LimitRange",
        ),
    ] = None


class TolerationOperator(StrEnum):
    """How a taint's value is compared."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that is tolerated, in PodSpec's shape."""

    key: Annotated[str | None, MaxLen(317), Doc("The taint's key.", example="dedicated", absent="every key")] = None
    operator: Annotated[
        TolerationOperator | None, Doc("How the value is compared.", example="Exists", absent="Equal")
    ] = None
    value: Annotated[str | None, MaxLen(63), Doc("The taint's value.", example="agents", absent="empty")] = None
    effect: Annotated[TaintEffect | None, Doc("The taint's effect.", example="NoSchedule", absent="every effect")] = (
        None
    )
    toleration_seconds: Annotated[
        int | None,
        Ge(0),
        Doc("How long a NoExecute taint is tolerated.", example="300", unit="seconds", absent="for ever"),
    ] = None


class PullPolicy(StrEnum):
    """When an image is pulled."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


Argument = Annotated[str, MaxLen(32768)]


class ContainerEnvironment(ApiModel):
    """A container of its own, in a Pod of restricted Pod Security. PodSpec's names and shapes, never a free PodSpec."""

    image: Annotated[
        str,
        MaxLen(2048),
        Rule(
            "self.size() >= 1 && self.size() <= 1024 && !self.matches('[[:space:]]')",
            "write an image, best by digest, such as registry.example/coder@sha256:…, without spaces",
        ),
        Doc("The image.", example="registry.example/coder:1.4"),
    ]
    command: Annotated[
        tuple[Argument, ...],
        MaxLen(64),
        Doc("The program to run.", example="[python, agent.py]", absent="the image's entry point"),
    ] = ()
    args: Annotated[
        tuple[Argument, ...],
        MaxLen(64),
        Doc("Its arguments.", example="[--verbose]", absent="the image's command, unless `command` is set"),
    ] = ()
    env: Annotated[
        tuple[Variable, ...],
        MaxLen(64),
        ListMap(("name",)),
        Doc(
            "Further environment variables. Ambit's own (AMBIT_*, OPENAI_BASE_URL, HTTP_PROXY, …) cannot be set.",
            example="[{name: REGION, value: eu}]",
            absent="none but Ambit's own",
        ),
    ] = ()
    resources: Annotated[
        Resources | None,
        Doc(
            "CPU and memory.", example="{limits: {cpu: '1', memory: 1Gi}}", absent="those of the namespace's LimitRange"
        ),
    ] = None
    image_pull_secrets: Annotated[
        tuple[LocalRef, ...],
        MaxLen(8),
        ListMap(("name",)),
        Doc("Secrets to pull the image with.", example="[{name: registry}]", absent="none"),
    ] = ()
    image_pull_policy: Annotated[
        PullPolicy | None,
        Doc("When the image is pulled.", example="IfNotPresent", absent="Always for :latest, else IfNotPresent"),
    ] = None
    node_selector: Annotated[
        dict[str, Annotated[str, MaxLen(63)]] | None,
        MaxLen(32),
        Doc("Labels that the node must have.", example="{disktype: ssd}", absent="any node"),
    ] = None
    tolerations: Annotated[
        tuple[Toleration, ...],
        MaxLen(32),
        Doc("Taints that are tolerated.", example="[{key: dedicated, operator: Exists}]", absent="none"),
    ] = ()
    runtime_class_name: Annotated[
        Name | None,
        Doc("The RuntimeClass.", example="gvisor", absent="gvisor where the cluster has it, else the node's default"),
    ] = None


class Environment(ApiModel):
    """Where an Agent's sessions run: exactly one kind."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.isolate) != has(self.container)",
            "give exactly one of environment.isolate (JavaScript in a V8 isolate) and environment.container (an image)",
        ),
    )
    isolate: Annotated[
        IsolateEnvironment | None,
        Doc(
            "A V8 isolate: starts in milliseconds, runs JavaScript.",
            example="{code: {configMapRef: {name: researcher}}}",
            absent="the environment is a container",
        ),
    ] = None
    container: Annotated[
        ContainerEnvironment | None,
        Doc(
            "A container: files, shell, any program.",
            example="{image: registry.example/coder:1.4}",
            absent="the environment is an isolate",
        ),
    ] = None
