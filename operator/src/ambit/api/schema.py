"""From the models to structural schemas (`openAPIV3Schema`), and to the list of their fields for the reference.

It reads the few forms that the models are made of (`ambit.api.base`) and raises TypeError for any other, so that a
field cannot come into a model without coming into the CRD.
"""

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

from annotated_types import Ge, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, BeforeValidator

from ambit.api.base import ApiModel, Doc, ListMap, ObjectMeta, Resource, Rule, StatusModel
from ambit.api.fields import IntOrString

Schema = dict[str, Any]
_PLAIN = re.compile(r"[0-9.]*[A-Za-z][-./A-Za-z0-9]*")
"""Text that YAML takes for text without quotes; numbers are not."""


@dataclass(frozen=True)
class Field:
    """One field of a model, as the CRD and the reference need it."""

    name: str
    """As on the wire."""
    type: Any
    metadata: tuple[Any, ...]
    required: bool
    default: Any
    """As JSON; None where there is none."""

    @property
    def doc(self) -> Doc | None:
        return next((item for item in self.metadata if isinstance(item, Doc)), None)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return _rules(self.metadata)

    @property
    def description(self) -> str:
        """What `kubectl explain` shows."""
        if self.doc is None:
            return docstring(self.type)
        parts = [self.doc.text]
        if self.doc.unit:
            parts.append(f"Unit: {self.doc.unit}.")
        parts += [f"{self.default_text}.", f"Example: {self.doc.example}"]
        return " ".join(parts)

    @property
    def default_text(self) -> str:
        """What holds if the field is left out."""
        if self.required:
            return "Required"
        if self.default is not None:
            return f"Default: {flow(self.default)}"
        return f"Default: {self.doc.absent if self.doc and self.doc.absent else 'none'}"


def flow(value: Any) -> str:
    """A JSON value on one line, as one would write it in YAML: `{name: default}`, `"5"`, `30m`."""
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return "{" + ", ".join(f"{key}: {flow(entry)}" for key, entry in entries.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in cast("list[Any]", value)) + "]"
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) is not None
    return value if plain else json.dumps(value)


def docstring(model: Any) -> str:
    """The model's own description, as one paragraph."""
    return " ".join((inspect.getdoc(model) or "").split())


def unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The bare type under `Annotated` and `… | None`, and all that was said of it on the way, innermost first."""
    if get_origin(annotation) is Annotated:
        inner, *said = get_args(annotation)
        bare, metadata = unwrap(inner)
        return bare, (*metadata, *said)
    if get_origin(annotation) in (Union, UnionType):
        arms = [arm for arm in get_args(annotation) if arm is not NoneType]
        if len(arms) != 1:
            raise TypeError(f"a field is one type or None, not {annotation}")
        return unwrap(arms[0])
    return annotation, ()


def fields(model: type[BaseModel]) -> Iterator[Field]:
    """The fields of a model, in the order in which they are written.

    Within a status nothing has a default: what Ambit has not written must not look as if it had.
    """
    hints = get_type_hints(model, include_extras=True)
    for name, info in model.model_fields.items():
        bare, metadata = unwrap(hints[name])
        in_status = any(isinstance(part, type) and issubclass(part, StatusModel) for part in (model, bare))
        yield Field(
            name=info.alias or name,
            type=bare,
            metadata=metadata,
            required=info.is_required(),
            default=None if info.is_required() or in_status else _json(info.default),
        )


def item_type(bare: Any) -> Any:
    """The model inside a list, or the model itself; None where there is no model inside."""
    if get_origin(bare) is tuple:
        bare, _ = unwrap(get_args(bare)[0])
    return bare if isinstance(bare, type) and issubclass(bare, ApiModel) else None


def walk(model: type[ApiModel], prefix: str) -> Iterator[tuple[str, Field]]:
    """Every field below `prefix` with its path, `[]` for the entries of a list, parents before children."""
    for field in fields(model):
        path = f"{prefix}{field.name}"
        yield path, field
        inside = item_type(field.type)
        if inside is not None:
            yield from walk(inside, f"{path}[]." if get_origin(field.type) is tuple else f"{path}.")


def rules(resource: type[Resource]) -> Iterator[tuple[str, Rule]]:
    """Every rule of a kind and where it is checked: `""` the object, `[]` an entry of a list, `[*]` one of a map."""
    yield from (("", rule) for rule in resource.rules)
    spec = next(field for field in fields(resource) if field.name == "spec")
    yield from (("spec", rule) for rule in spec.type.rules)
    for path, field in walk(spec.type, "spec."):
        yield from ((path, rule) for rule in field.rules)
        suffix = {tuple: "[]", dict: "[*]"}.get(get_origin(field.type), "")
        if suffix:
            _, metadata = unwrap(get_args(field.type)[0 if suffix == "[]" else 1])
            yield from ((path + suffix, rule) for rule in _rules(metadata))
        inside = item_type(field.type)
        if inside is not None:
            yield from ((path + suffix, rule) for rule in inside.rules)


def object_schema(model: type[ApiModel]) -> Schema:
    """The schema of a model: its fields, and the rules about several of them."""
    properties: Schema = {}
    for field in fields(model):
        if field.type is ObjectMeta:
            properties[field.name] = {"type": "object"}
            continue
        schema = _value_schema(field.type, field.metadata)
        properties[field.name] = {"description": field.description, **schema}
        if field.default is not None:
            properties[field.name]["default"] = field.default
    schema: Schema = {"type": "object", "properties": properties}
    required = sorted(field.name for field in fields(model) if field.required and field.type is not ObjectMeta)
    if required:
        schema["required"] = required
    if model.rules:
        schema["x-kubernetes-validations"] = _validations(model.rules)
    return schema


def resource_schema(resource: type[Resource]) -> Schema:
    """The schema of a whole object."""
    schema = object_schema(resource)
    schema["properties"] = {
        "apiVersion": {"type": "string", "description": "The version of this API: ambit.dev/v1alpha1."},
        "kind": {"type": "string", "description": f"What the object is: {resource.resource.kind}."},
        **schema["properties"],
    }
    return {"description": docstring(resource), **schema}


def _value_schema(bare: Any, metadata: tuple[Any, ...]) -> Schema:
    schema = _type_schema(bare, metadata)
    said = _rules(metadata)
    if said:
        schema["x-kubernetes-validations"] = [*_validations(said), *schema.get("x-kubernetes-validations", [])]
    for item in metadata:
        _apply(item, bare, schema)
    return schema


def _type_schema(bare: Any, metadata: tuple[Any, ...]) -> Schema:
    if any(isinstance(item, IntOrString) for item in metadata):
        return {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    if get_origin(bare) is tuple:
        return {"type": "array", "items": _value_schema(*unwrap(get_args(bare)[0]))}
    if get_origin(bare) is dict:
        return {"type": "object", "additionalProperties": _value_schema(*unwrap(get_args(bare)[1]))}
    if bare is str:
        return {"type": "string"}
    if bare is int:
        return {"type": "integer", "format": "int64"}
    if bare is bool:
        return {"type": "boolean"}
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return {"type": "string", "enum": [member.value for member in bare]}
    if isinstance(bare, type) and issubclass(bare, ApiModel):
        return object_schema(bare)
    raise TypeError(f"no schema for a field of type {bare}")


def _apply(item: Any, bare: Any, schema: Schema) -> None:
    """One thing that `Annotated` says of a value, in the schema's words."""
    origin = get_origin(bare)
    sized = "Items" if origin is tuple else "Properties" if origin is dict else "Length"
    match item:
        case MaxLen(max_length=most):
            schema[f"max{sized}"] = most
        case MinLen(min_length=least):
            schema[f"min{sized}"] = least
        case Ge(ge=least):
            schema["minimum"] = least
        case ListMap(keys=keys):
            schema["x-kubernetes-list-type"] = "map"
            schema["x-kubernetes-list-map-keys"] = list(keys)
        case Doc() | Rule() | IntOrString() | BeforeValidator() | AfterValidator():
            pass
        case _:
            raise TypeError(f"nothing is known of {item!r}")


def _rules(metadata: tuple[Any, ...]) -> tuple[Rule, ...]:
    return tuple(item for item in metadata if isinstance(item, Rule))


def _validations(said: tuple[Rule, ...]) -> list[Schema]:
    return [{"rule": rule.cel, "message": rule.message} for rule in said]


def _json(default: Any) -> Any:
    """A field's default as JSON; None for those that mean "absent" (None, nothing in it, zero)."""
    if isinstance(default, ApiModel):
        default = default.to_dict()
    if isinstance(default, tuple):
        return [_json(item) for item in cast("tuple[Any, ...]", default)] or None
    return default.value if isinstance(default, StrEnum) else default or None
