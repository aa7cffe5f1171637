"""The apiserver's own messages about types are the ones that the docs explain."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ambit.api.generate import RESOURCES
from tests.api.apiserver import ApiServer
from tests.api.table import changed, full_manifests, written_out

ROWS: list[dict[str, Any]] = written_out(yaml.safe_load((Path(__file__).parent / "type_errors.yaml").read_text()))
PAGE = Path(__file__).parents[2] / "docs" / "errors-from-the-apiserver.md"


LEAST: list[dict[str, Any]] = list(yaml.safe_load_all(PAGE.read_text().split("```yaml\n")[1].split("```")[0]))


def _message(row: dict[str, Any]) -> str:
    return row["message"]


def _kind(manifest: dict[str, Any]) -> str:
    return manifest["kind"]


@pytest.mark.parametrize("row", ROWS, ids=_message)
def test_the_page_lists_the_message(row: dict[str, Any]) -> None:
    assert f"| `{row['message']}` |" in PAGE.read_text()


def test_the_page_lists_no_message_that_is_not_tried() -> None:
    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(listed) == len({row["message"] for row in ROWS})


def test_a_missing_spec_is_tried_of_each_kind_and_has_its_cure() -> None:
    kinds = {resource.resource.kind for resource in RESOURCES}
    manifests = full_manifests()
    assert {manifests[row["manifest"]]["kind"] for row in ROWS if row["message"] == "spec: Required value"} == kinds
    assert {_kind(manifest) for manifest in LEAST} == kinds


@pytest.mark.integration
@pytest.mark.parametrize("manifest", LEAST, ids=_kind)
def test_the_least_that_a_kind_needs_is_accepted_and_not_less(apiserver: ApiServer, manifest: dict[str, Any]) -> None:
    accepted = apiserver.create(manifest, dry_run=True)
    assert accepted.status_code == 201, accepted.text
    for field in manifest["spec"]:
        refused = apiserver.create(changed(manifest, {f"spec.{field}": None}), dry_run=True)
        assert refused.status_code == 422, field


@pytest.mark.integration
@pytest.mark.parametrize("row", ROWS, ids=_message)
def test_the_apiserver_says_it(apiserver: ApiServer, row: dict[str, Any]) -> None:
    response = apiserver.create(changed(full_manifests()[row["manifest"]], row["change"]), dry_run=True)
    assert response.status_code in (400, 422)
    assert row["message"] in response.json()["message"]
