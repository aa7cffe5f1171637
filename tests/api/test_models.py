"""What a model accepts round-trips, and the CRD's schema says the same of it as the model does."""

from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ambit.api.agent import Agent
from ambit.api.base import InvalidObject, ObjectKey, Resource
from ambit.api.budget import Budget
from ambit.api.generate import RESOURCES
from ambit.api.schema import Schema, resource_schema
from tests.api.apiserver import ApiServer
from tests.api.objects import objects
from tests.api.table import full_manifests

ANY_OBJECT = st.sampled_from(RESOURCES).flatmap(lambda resource: st.tuples(st.just(resource), objects(resource)))
BY_KIND: dict[str, type[Resource]] = {resource.resource.kind: resource for resource in RESOURCES}
SCHEMAS = {resource: resource_schema(resource) for resource in RESOURCES}
MINIMAL: dict[str, dict[str, Any]] = {
    "budget": {"kind": "Budget", "spec": {"limits": [{"window": "Day", "usd": 5}]}},
    "isolate-agent": {"kind": "Agent", "spec": {"environment": {"isolate": {"code": {"configMapRef": {"name": "a"}}}}}},
    "container-agent": {"kind": "Agent", "spec": {"environment": {"container": {"image": "python"}}}},
    "sandbox": {"kind": "Sandbox", "spec": {"environment": {"container": {"image": "python"}}}},
    "pool": {"kind": "SandboxPool", "spec": {}},
    "route": {
        "kind": "ModelRoute",
        "spec": {
            "backends": [
                {
                    "name": "local",
                    "provider": "OpenAI",
                    "url": "http://llama.models:8080",
                    "model": "smollm2",
                    "price": {"input": 0, "output": 0},
                    "limits": {"contextTokens": 8192, "maxOutputTokens": 1024},
                }
            ]
        },
    },
}
THOROUGHLY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANIFESTS = {**{f"minimal-{name}": manifest for name, manifest in MINIMAL.items()}, **full_manifests()}


@given(ANY_OBJECT)
@THOROUGHLY
def test_what_a_model_accepts_round_trips(drawn: tuple[type[Resource], dict[str, Any]]) -> None:
    resource, obj = drawn
    read = resource.from_dict(obj)
    assert resource.from_dict(read.to_dict()) == read


@given(ANY_OBJECT)
@THOROUGHLY
def test_what_a_model_writes_fits_the_schema(drawn: tuple[type[Resource], dict[str, Any]]) -> None:
    resource, obj = drawn
    written = resource.from_dict(obj).to_dict()
    del written["metadata"]  # the apiserver's own
    assert list(_misfits(written, SCHEMAS[resource], "")) == []


@given(ANY_OBJECT)
@THOROUGHLY
def test_the_schemas_defaults_are_the_models(drawn: tuple[type[Resource], dict[str, Any]]) -> None:
    resource, obj = drawn
    assert resource.from_dict(_defaulted(obj, SCHEMAS[resource])) == resource.from_dict(obj)


def test_a_misfit_is_seen() -> None:
    budget = {"spec": {"limits": [{"window": "Fortnight", "usd": 0.5, "gpu": 1}]}}
    assert [path for path, _ in _misfits(budget, SCHEMAS[Budget], "")] == [
        "spec.limits[].window",
        "spec.limits[].usd",
        "spec.limits[].gpu",
    ]


def test_an_unknown_field_of_a_spec_is_an_error_that_names_the_object() -> None:
    obj = {"metadata": {"name": "a", "namespace": "n"}, "spec": {"limits": [{"window": "Day", "usd": 5}], "holds": 1}}
    with pytest.raises(InvalidObject) as raised:
        Budget.from_dict(obj)
    assert raised.value.key == ObjectKey("n", "a")
    assert "spec.holds" in str(raised.value)


def test_an_unknown_field_of_a_status_is_a_newer_versions() -> None:
    obj = {"metadata": {"name": "a"}, "spec": {"environment": {"container": {"image": "x"}}}, "status": {"revision": 1}}
    assert Agent.from_dict(obj).status.observed_generation == 0


@pytest.mark.integration
@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_the_apiserver_fills_in_what_the_model_does(apiserver: ApiServer, manifest: dict[str, Any]) -> None:
    manifest = {"apiVersion": "ambit.dev/v1alpha1", "metadata": {"name": "an-object"}, **manifest}
    resource = BY_KIND[manifest["kind"]]
    answer = apiserver.create(manifest, dry_run=True)
    assert answer.status_code == 201, answer.text
    stored = resource.from_dict(answer.json())
    assert cast(Any, stored).spec == cast(Any, resource.from_dict(manifest)).spec


def _misfits(value: Any, schema: Schema, path: str) -> Any:
    """What does not fit a structural schema: (path, problem)."""
    allowed = {arm["type"] for arm in schema.get("anyOf", [])} or {schema["type"]}
    if _type(value) not in allowed:
        yield path, f"{_type(value)} is none of {allowed}"
    elif "enum" in schema and value not in schema["enum"]:
        yield path, f"{value} is none of {schema['enum']}"
    elif isinstance(value, dict):
        yield from _object_misfits(cast("dict[str, Any]", value), schema, path)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _misfits(item, schema["items"], f"{path}[]")


def _object_misfits(value: dict[str, Any], schema: Schema, path: str) -> Any:
    for name in schema.get("required", []):
        if name not in value:
            yield f"{path}.{name}", "is missing"
    for name, entry in value.items():
        inside = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        here = f"{path}.{name}".lstrip(".")
        if inside is None:
            yield here, "is unknown"
        else:
            yield from _misfits(entry, inside, here)


def _type(value: Any) -> str:
    names = ((bool, "boolean"), (int, "integer"), (str, "string"), (dict, "object"), (list, "array"))
    return next((name for kind, name in names if isinstance(value, kind)), "number")


def _defaulted(value: Any, schema: Schema) -> Any:
    """Structural defaulting, as the apiserver does it."""
    if isinstance(value, list):
        return [_defaulted(item, schema.get("items", {})) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    entries = cast("dict[str, Any]", value)
    properties: dict[str, Schema] = schema.get("properties", {})
    defaults = {name: inside["default"] for name, inside in properties.items() if "default" in inside}
    return {name: _defaulted(entry, properties.get(name, {})) for name, entry in {**defaults, **entries}.items()}
