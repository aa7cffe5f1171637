"""The accept/refuse table as values: which manifest is written, and whether the apiserver has to take it."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from ambit.api.generate import RESOURCES
from ambit.api.names import API_VERSION
from ambit.api.schema import rules

FOLDER = Path(__file__).parent / "accept_refuse"
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One manifest for one rule. `message` is how the refusal begins; None: it has to be accepted."""

    name: str
    manifest: Manifest
    message: str | None
    rule: tuple[str, str, str]
    """The rule that is tried: kind, path, the beginning of its message."""
    before: Manifest | None = None
    """What is there before; the case is an update then."""


def load(name: str) -> Any:
    """One of the tables, with `{repeat: x, times: n}` written out."""
    return written_out(yaml.safe_load((FOLDER / name).read_text()))


def full_manifests() -> dict[str, Manifest]:
    """The manifests with every field set, by their names in the tables."""
    return {
        name: {"apiVersion": API_VERSION, "metadata": {"name": name}, **manifest}
        for name, manifest in load("full.yaml").items()
    }


def changed(manifest: Manifest, changes: dict[str, Any]) -> Manifest:
    """A copy with `changes`: path → value, None taking the field out."""
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        _set(result, path, value)
    return result


def object_cases() -> Iterator[Case]:
    """Rules about several fields, and about changes."""
    full = full_manifests()
    for index, row in enumerate(load("objects.yaml")):
        before = changed(full[row["manifest"]], row.get("from", {})) if row.get("update") else None
        kind, path = _rule_place(full[row["manifest"]]["kind"], row["message"])
        for verdict in ("accepted", "refused"):
            yield Case(
                name=f"{row['manifest']}-{index}-{verdict}",
                manifest=changed(full[row["manifest"]], row[verdict]),
                message=row["message"] if verdict == "refused" else None,
                rule=(kind, path, row["message"]),
                before=before,
            )


def value_cases() -> Iterator[Case]:
    """Rules about one value, at every place where it may stand."""
    table = {row["message"]: row for row in load("values.yaml")}
    full = full_manifests()
    for resource in RESOURCES:
        kind = resource.resource.kind
        places: dict[str, list[str]] = {}
        for path, rule in rules(resource):
            message = next((message for message in table if rule.message.startswith(message)), None)
            if message is not None:
                places.setdefault(path, []).append(message)
        for path, messages in places.items():
            manifest, place = _manifest_with(full, kind, path)
            accepted = table[messages[-1]]["accepted"]  # the last rule of a value is the narrowest
            for value in accepted:
                yield _value_case(kind, path, messages[-1], manifest, place, value, None)
            for message in messages:
                for value in table[message]["refused"]:
                    yield _value_case(kind, path, message, manifest, place, value, message)


def _value_case(
    kind: str, path: str, rule: str, manifest: Manifest, place: str, value: Any, message: str | None
) -> Case:
    verdict = "accepts" if message is None else "refuses"
    shown = repr(value)[:24]
    return Case(f"{kind}-{path}-{verdict}-{shown}", changed(manifest, {place: value}), message, (kind, path, rule))


def _rule_place(kind: str, message: str) -> tuple[str, str]:
    resource = next(resource for resource in RESOURCES if resource.resource.kind == kind)
    places = [path for path, rule in rules(resource) if rule.message.startswith(message)]
    if len(places) != 1:
        raise LookupError(f"{kind}: {message!r} is the message of {len(places)} rules, not of one")
    return kind, places[0]


def _manifest_with(full: dict[str, Manifest], kind: str, path: str) -> tuple[Manifest, str]:
    """A full manifest of that kind in which something stands at the path, and the path with its indexes."""
    for manifest in full.values():
        if manifest["kind"] != kind:
            continue
        for place in _places(manifest, path):
            return manifest, place
    raise LookupError(f"no full manifest of {kind} has {path}")


def _places(manifest: Manifest, path: str) -> Iterator[str]:
    """Concrete paths for one with `[]` (any entry of a list) and `[*]` (any of a map)."""
    found: list[tuple[Any, str]] = [(manifest, "")]
    for step in re.findall(r"\[\]|\[\*\]|[^.\[\]]+", path):
        following: list[tuple[Any, str]] = []
        for value, place in found:
            if step == "[]":
                following += [(item, f"{place}[{index}]") for index, item in enumerate(value)]
            elif step == "[*]":
                following += [(item, f"{place}.{key}") for key, item in value.items()]
            elif step in value:
                following.append((value[step], f"{place}.{step}".lstrip(".")))
        found = following
    yield from (place for _, place in found)


def _set(manifest: Manifest, path: str, value: Any) -> None:
    steps = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]
    target: Any = manifest
    for step in steps[:-1]:
        target = target[step]
    last = steps[-1]
    if value is None:
        target.pop(last, None)
    elif isinstance(target, list):
        items = cast("list[Any]", target)
        items[cast("int", last) : cast("int", last) + 1] = [value]
    else:
        target[last] = value


def written_out(value: Any) -> Any:
    """A table's value with `{repeat: x, times: n}` in it written out."""
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        if mapping.keys() == {"repeat", "times"}:
            return mapping["repeat"] * mapping["times"]
        return {key: written_out(item) for key, item in mapping.items()}
    if isinstance(value, list):
        return [written_out(item) for item in cast("list[Any]", value)]
    return value
