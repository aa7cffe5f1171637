"""The CustomResourceDefinition of a kind."""

from typing import Any

from ambit.api.base import Column, Resource
from ambit.api.names import GROUP, VERSION
from ambit.api.schema import resource_schema

_CONDITION = ".status.conditions[?(@.type=='Ready')]"


def crd(resource: type[Resource]) -> dict[str, Any]:
    """What the apiserver is told: names, columns, sub-resources, schema."""
    kind = resource.resource
    columns = (
        Column("Ready", f"{_CONDITION}.status"),
        Column("Reason", f"{_CONDITION}.reason"),
        *kind.columns,
        Column("Age", ".metadata.creationTimestamp", type="date"),
        Column("Message", f"{_CONDITION}.message", wide=True),
    )
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale is not None:
        subresources["scale"] = {
            "specReplicasPath": kind.scale.spec_path,
            "statusReplicasPath": kind.scale.status_path,
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": ["ambit"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [_column(column) for column in columns],
                    "subresources": subresources,
                    "schema": {"openAPIV3Schema": resource_schema(resource)},
                }
            ],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    shown = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return {**shown, "priority": 1} if column.wide else shown
