"""Every field says what it is, in which unit, what holds without it, and how it is written."""

from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
import yaml
from pydantic import TypeAdapter

from ambit.api.base import ApiModel
from ambit.api.fields import DURATION_CEL, IntOrString
from ambit.api.generate import RESOURCES
from ambit.api.schema import Field, Schema, docstring, fields, resource_schema, rules, unwrap, walk

PARTS = [(resource, field) for resource in RESOURCES for field in fields(resource) if field.name in ("spec", "status")]
FIELDS = [
    pytest.param(path, field, id=f"{resource.resource.kind}.{path}")
    for resource, part in PARTS
    for path, field in walk(part.type, f"{part.name}.")
]


@pytest.mark.parametrize(("path", "field"), FIELDS)
def test_a_field_is_documented(path: str, field: Field) -> None:
    doc = field.doc
    assert doc is not None
    assert doc.text.endswith("."), "a sentence"
    assert doc.example
    is_amount = (
        field.type is int
        or any(isinstance(item, IntOrString) for item in field.metadata)
        or any(rule.cel == DURATION_CEL for rule in field.rules)
    )
    assert doc.unit or not is_amount, "an amount has a unit"
    in_spec = path.startswith("spec.")
    says_without = field.required or field.default is not None or doc.absent
    assert says_without or not in_spec, "what holds if it is left out"


def _every_field_type() -> Iterator[Any]:
    for _, part in PARTS:
        pending: list[type[ApiModel]] = [part.type]
        pending += [
            inside
            for _, field in walk(part.type, "")
            if isinstance(inside := field.type, type) and issubclass(inside, ApiModel)
        ]
        for model in pending:
            for name, hint in get_type_hints(model, include_extras=True).items():
                if name in model.model_fields:
                    yield pytest.param(model, name, hint, id=f"{model.__name__}.{name}")


@pytest.mark.parametrize(("model", "name", "hint"), list(_every_field_type()))
def test_an_example_is_one(model: type[ApiModel], name: str, hint: Any) -> None:
    _, metadata = unwrap(hint)
    field = next(field for field in fields(model) if field.name == (model.model_fields[name].alias or name))
    assert field.doc is not None
    assert field.metadata == metadata
    TypeAdapter(hint).validate_python(yaml.safe_load(field.doc.example))


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_description_reaches_the_crd(resource: Any) -> None:
    schema = resource_schema(resource)
    assert schema["description"] == docstring(resource)
    assert list(_undescribed(schema, "")) == ["metadata"]


def _undescribed(schema: Schema, path: str) -> Iterator[str]:
    for name, inside in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        if not inside.get("description"):
            yield here
        yield from _undescribed(inside, here)
        yield from _undescribed(inside.get("items", {}), f"{here}[]")


def test_every_message_says_what_to_write() -> None:
    verbs = ("write", "give", "choose", "leave out")
    for resource in RESOURCES:
        for path, rule in rules(resource):
            says = rule.message.startswith(verbs) or "cannot be changed" in rule.message
            assert says, f"{resource.resource.kind} {path}: {rule.message}"
