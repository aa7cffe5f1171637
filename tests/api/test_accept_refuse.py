"""For each rule a manifest that the real apiserver takes, and one that it refuses with the rule's message."""

from typing import Any

import pytest

from ambit.api.generate import RESOURCES
from ambit.api.schema import rules
from tests.api.apiserver import ApiServer
from tests.api.table import Case, full_manifests, load, object_cases, value_cases

CASES = [*object_cases(), *value_cases()]


def _name(case: Case) -> str:
    return case.name


def test_every_rule_has_a_manifest_that_passes_and_one_that_is_refused() -> None:
    accepted = {case.rule for case in CASES if case.message is None}
    refused = {case.rule for case in CASES if case.message is not None}
    for resource in RESOURCES:
        for path, rule in rules(resource):
            tried = [
                key for key in refused if key[:2] == (resource.resource.kind, path) and rule.message.startswith(key[2])
            ]
            assert tried, f"{resource.resource.kind} {path}: nothing is refused with {rule.message!r}"
            passed = {key[:2] for key in accepted}
            assert (resource.resource.kind, path) in passed, f"{resource.resource.kind} {path}: nothing is accepted"


def test_every_row_of_the_tables_is_a_rule() -> None:
    messages = {rule.message for resource in RESOURCES for _, rule in rules(resource)}
    for row in [*load("values.yaml"), *load("objects.yaml")]:
        assert any(message.startswith(row["message"]) for message in messages), row["message"]


@pytest.mark.integration
@pytest.mark.parametrize("name", full_manifests())
def test_a_manifest_with_every_field_is_accepted(apiserver: ApiServer, name: str) -> None:
    response = apiserver.create(full_manifests()[name], dry_run=True)
    assert response.status_code == 201, response.text


@pytest.mark.integration
@pytest.mark.parametrize("case", CASES, ids=_name)
def test_the_apiserver_decides_and_says_what_to_write(apiserver: ApiServer, case: Case) -> None:
    status, message = _write(apiserver, case)
    if case.message is None:
        assert status in (200, 201), message
    else:
        assert status == 422, message
        assert case.message in message


def _write(apiserver: ApiServer, case: Case) -> tuple[int, str]:
    if case.before is None:
        response = apiserver.create(case.manifest, dry_run=True)
        return response.status_code, response.json().get("message", "")
    created = apiserver.create(case.before)
    assert created.status_code == 201, created.text
    try:
        manifest: dict[str, Any] = {**case.manifest, "metadata": created.json()["metadata"]}
        response = apiserver.replace(manifest)
        return response.status_code, response.json().get("message", "")
    finally:
        apiserver.delete(case.before).raise_for_status()
