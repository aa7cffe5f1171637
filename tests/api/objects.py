"""Any object that the apiserver could hold, as hypothesis draws them from the models."""

from enum import StrEnum
from typing import Any, cast, get_args, get_origin

from annotated_types import Ge, MaxLen, MinLen
from hypothesis import strategies as st

from ambit.api.base import ApiModel, ListMap, ObjectMeta, Resource, Rule
from ambit.api.fields import IntOrString
from ambit.api.names import API_VERSION
from ambit.api.schema import fields, unwrap
from tests.api.table import load

_VALUES = {row["message"]: row["accepted"] for row in load("values.yaml")}
_METADATA: dict[str, Any] = {"name": "an-object", "namespace": "team-a", "uid": "0c1a", "generation": 3}


def objects(resource: type[Resource]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of their optional fields, each with values that its rules accept.

    Rules about several fields are not kept: the model does not check them, the apiserver does.
    """
    head = {"apiVersion": API_VERSION, "kind": resource.resource.kind, "metadata": _METADATA}
    return model_json(resource).map(lambda obj: {**obj, **head})


def model_json(model: type[ApiModel]) -> st.SearchStrategy[dict[str, Any]]:
    """The JSON form of any value of the model."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in fields(model):
        if field.type is not ObjectMeta:
            (required if field.required else optional)[field.name] = _value(field.type, field.metadata)
    return st.fixed_dictionaries(required, optional=optional)


def _value(bare: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    messages = [item.message for item in metadata if isinstance(item, Rule)]
    accepted = [_VALUES[known] for message in messages for known in _VALUES if message.startswith(known)]
    if accepted:
        return st.sampled_from(accepted[-1])
    if any(isinstance(item, IntOrString) for item in metadata):
        raise LookupError(f"no accepted values for {messages}")
    if get_origin(bare) is tuple:
        return _list(bare, metadata)
    if get_origin(bare) is dict:
        return st.dictionaries(st.text("abc", min_size=1, max_size=3), _value(*unwrap(get_args(bare)[1])), max_size=3)
    if bare is str:
        most = next((item.max_length for item in metadata if isinstance(item, MaxLen)), 64)
        least = next((item.min_length for item in metadata if isinstance(item, MinLen)), 0)
        return st.text(min_size=least, max_size=min(most, 20))
    if bare is int:
        return st.integers(next((int(str(item.ge)) for item in metadata if isinstance(item, Ge)), -(2**31)), 2**31)
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return st.sampled_from([member.value for member in bare])
    return model_json(cast("type[ApiModel]", bare))


def _list(bare: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    least = next((item.min_length for item in metadata if isinstance(item, MinLen)), 0)
    keys = next((item.keys for item in metadata if isinstance(item, ListMap)), ())

    def key(item: Any) -> Any:
        return tuple(item.get(key) for key in keys) if keys else repr(item)

    return st.lists(_value(*unwrap(get_args(bare)[0])), min_size=least, max_size=max(least, 2), unique_by=key)
