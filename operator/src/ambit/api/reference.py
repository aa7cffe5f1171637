"""The reference in `docs/reference/`: one page a kind, made from the models."""

from enum import StrEnum
from typing import Any, get_args, get_origin

from ambit.api.base import ApiModel, ObjectMeta, Resource
from ambit.api.fields import IntOrString
from ambit.api.names import API_VERSION
from ambit.api.schema import Field, docstring, fields, rules, unwrap, walk

_HEADER = "<!-- Written by `make generate` from the API models; edit those instead. -->"


def index(resources: tuple[type[Resource], ...]) -> str:
    """The page that lists the kinds."""
    rows = [
        f"| [{resource.resource.kind}]({page_name(resource)}) | `{resource.resource.short_name}` |"
        f" {docstring(resource)} |"
        for resource in resources
    ]
    return "\n".join(
        [
            _HEADER,
            "# API reference",
            "",
            f"Every kind is of `{API_VERSION}`; `kubectl get ambit` lists them all, `kubectl explain budget.spec`",
            "shows what stands here. A refused manifest says what to write instead; what the apiserver itself says of",
            "wrong types stands in [Errors from the apiserver](../errors-from-the-apiserver.md).",
            "",
            "| kind | short name | what it is |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def page_name(resource: type[Resource]) -> str:
    """The file name of a kind's page."""
    return f"{resource.resource.singular}.md"


def page(resource: type[Resource]) -> str:
    """A kind's page: what it is, every field, every rule."""
    kind = resource.resource
    lines = [_HEADER, f"# {kind.kind}", "", docstring(resource), ""]
    lines += [f"`kubectl get {kind.plural}` (short: `{kind.short_name}`), API version `{API_VERSION}`.", ""]
    parts = {field.name: field for field in fields(resource) if field.type is not ObjectMeta}
    for name, title in (("spec", "What you write: `spec`"), ("status", "What Ambit writes: `status`")):
        lines += [
            f"## {title}",
            "",
            "| field | type | unit | default | meaning | example |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_row(path, field) for path, field in walk(parts[name].type, f"{name}.")]
        lines.append("")
    lines += ["## What the apiserver checks", "", "| where | it tells you to |", "|---|---|"]
    lines += [f"| `{path or kind.kind}` | {_cell(rule.message)} |" for path, rule in rules(resource)]
    lines.append("")
    return "\n".join(lines)


def _row(path: str, field: Field) -> str:
    doc = field.doc
    if doc is None:
        raise TypeError(f"{path} has no Doc")
    default = field.default_text.removeprefix("Default: ")
    default = f"`{default}`" if field.default is not None else default.lower() if field.required else default
    cells = [f"`{path}`", _type_name(field.type, field.metadata), doc.unit, default, doc.text, f"`{doc.example}`"]
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type_name(bare: Any, metadata: tuple[Any, ...]) -> str:
    if any(isinstance(item, IntOrString) for item in metadata):
        return "quantity"
    if get_origin(bare) is tuple:
        return f"list of {_type_name(*unwrap(get_args(bare)[0]))}"
    if get_origin(bare) is dict:
        return f"map of {_type_name(*unwrap(get_args(bare)[1]))}"
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        return ", ".join(f"`{member.value}`" for member in bare)
    if isinstance(bare, type) and issubclass(bare, ApiModel):
        return "object"
    return {str: "string", int: "integer", bool: "boolean"}[bare]
