"""What every API model is made of: documented fields, CEL rules, and the way in from and out to JSON.

A field is `name: Annotated[type, Doc(...), ...] = default`. `Doc` is its documentation, `Rule`s are checked by the
apiserver, `annotated_types` bounds hold in both places. `ambit.api.schema` reads all of it to write the CRDs.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer
from pydantic.alias_generators import to_camel

from ambit.api.names import API_VERSION


class ObjectKey(NamedTuple):
    """Names an object of a known kind. Equal to the plain tuple (namespace, name)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Doc:
    """A field's documentation, shown by `kubectl explain`.

    `example` is YAML. `unit` is needed wherever the field is an amount. `absent` says what holds when an optional field
    without a default is left out.
    """

    text: str
    example: str
    unit: str = ""
    absent: str = ""


@dataclass(frozen=True)
class Rule:
    """A CEL rule that the apiserver checks, and what it tells the user: what to write instead."""

    cel: str
    message: str


def immutable(field: str, message: str) -> Rule:
    """The rule that a spec's field is neither changed, set nor taken out; for the spec, where all of these are seen."""
    return Rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})", message
    )


@dataclass(frozen=True)
class ListMap:
    """The list is a map by these keys (merged key-wise by server-side apply; a key stands at most once)."""

    keys: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    """Shown only by `kubectl get -o wide`."""


@dataclass(frozen=True)
class Scale:
    """Where the `scale` sub-resource finds its numbers."""

    spec_path: str
    status_path: str


@dataclass(frozen=True)
class ResourceKind:
    """What the apiserver knows of a kind besides its schema."""

    kind: str
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    scale: Scale | None = None

    @property
    def singular(self) -> str:
        return self.kind.lower()


class InvalidObject(Exception):
    """An object of the apiserver does not fit this version's model (it was stored by another version)."""

    def __init__(self, kind: str, key: ObjectKey, problem: str) -> None:
        super().__init__(f"{kind} {key} does not fit {API_VERSION}: {problem}")
        self.kind = kind
        self.key = key
        self.problem = problem


def _wire_name(name: str) -> str:
    """snake_case → camelCase; a name that is a Python keyword carries an underscore at its end."""
    return to_camel(name.rstrip("_"))


class ApiModel(BaseModel):
    """Part of an API object: immutable, snake_case here and camelCase on the wire.

    A field that this version does not know is an error: what nobody enforces must not look accepted.
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=_wire_name, validate_by_name=True, validate_by_alias=True, extra="forbid"
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: camelCase keys, nothing that is absent."""
        return self.model_dump(mode="json", by_alias=True)

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # An empty list is left out as well: CEL's has() would take it for one that the user wrote.
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if value is not None and value != []}


class StatusModel(ApiModel):
    """Part of a status. A newer version may have written more than this one knows; that is left alone."""

    model_config = ConfigDict(extra="ignore")


class OwnerReference(StatusModel):
    """Of Kubernetes' ObjectMeta: the object that this one is deleted with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(StatusModel):
    """The part of Kubernetes' ObjectMeta that Ambit reads. Instants are RFC 3339 strings."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()


class Resource(ApiModel):
    """A custom resource: `metadata`, `spec`, `status`."""

    model_config = ConfigDict(extra="ignore")
    resource: ClassVar[ResourceKind]
    metadata: ObjectMeta

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.metadata.namespace, self.metadata.name)

    @classmethod
    def from_dict(cls, obj: dict[str, Any]) -> Self:
        """Reads an object as the apiserver gives it. Raises InvalidObject."""
        try:
            return cls.model_validate(obj)
        except ValidationError as error:
            metadata: dict[str, Any] = obj.get("metadata") or {}
            key = ObjectKey(str(metadata.get("namespace", "")), str(metadata.get("name", "")))
            problems = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()
            )
            raise InvalidObject(cls.resource.kind, key, problems) from error

    def to_dict(self) -> dict[str, Any]:
        return {"apiVersion": API_VERSION, "kind": self.resource.kind, **super().to_dict()}
