"""What `kubectl get` and `kubectl scale` see, on the real apiserver."""

from typing import Any

import pytest

from tests.api.apiserver import ApiServer
from tests.api.table import full_manifests

pytestmark = pytest.mark.integration

CONDITIONS = [
    {
        "type": "Ready",
        "status": "False",
        "reason": "NoBudget",
        "message": "namespace team-a has no Budget named default",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
]
STATUS: dict[str, dict[str, Any]] = {
    "budget": {
        "limits": [
            {
                "window": "Lifetime",
                "usage": [{"resource": "usd", "limit": "2500", "spent": "7", "held": "0", "remaining": "2493"}],
            },
            {
                "window": "Day",
                "usage": [{"resource": "usd", "limit": "200", "spent": "2.50", "held": "1", "remaining": "196.50"}],
            },
        ],
        "tightest": {"used": "1% usd/Day", "spent": "2.50", "limit": "200"},
    },
    "isolate-agent": {"sessions": {"active": 4}},
    "own-sandbox": {"exitCode": 0, "usage": {"usd": "0.012", "tokens": "5120", "modelCalls": "7", "runtime": "1m30s"}},
    "pool": {"hosts": {"desired": 3, "ready": 2}},
    "route": {},
}
FIGURES: dict[str, dict[str, Any]] = {
    "budget": {"Tightest": "1% usd/Day", "Spent": "2.50", "Limit": "200"},
    "isolate-agent": {"Sessions": 4},
    "own-sandbox": {"Exit": 0, "USD": "0.012", "Runtime": "1m30s"},
    "pool": {"Hosts": 3, "Hosts-Ready": 2},
    "route": {"Provider": "Anthropic", "Model": "claude-sonnet-5"},
}


@pytest.mark.parametrize("name", STATUS)
def test_the_columns_tell_what_is_wrong_and_the_figures_that_matter(apiserver: ApiServer, name: str) -> None:
    manifest = full_manifests()[name]
    apiserver.create(manifest).raise_for_status()
    path = apiserver.path(manifest["kind"], name)
    try:
        status = {"status": {"conditions": CONDITIONS, "observedGeneration": 1, **STATUS[name]}}
        patched = apiserver.http.patch(
            f"{path}/status", json=status, headers={"Content-Type": "application/merge-patch+json"}
        )
        assert patched.status_code == 200, patched.text
        shown = _columns(apiserver, path)
        assert shown["Ready"] == "False"
        assert shown["Reason"] == "NoBudget"
        assert "Age" in shown
        assert {column: shown[column] for column in FIGURES[name]} == FIGURES[name]
    finally:
        apiserver.delete(manifest).raise_for_status()


def test_the_status_is_a_sub_resource_of_its_own(apiserver: ApiServer) -> None:
    manifest = full_manifests()["route"]
    created = apiserver.create({**manifest, "status": {"observedGeneration": 7}}, dry_run=True)
    assert "status" not in created.json()


def test_scale_sets_the_hosts(apiserver: ApiServer) -> None:
    manifest = full_manifests()["pool"]
    apiserver.create(manifest).raise_for_status()
    path = apiserver.path("SandboxPool", "pool")
    try:
        scaled = apiserver.http.patch(
            f"{path}/scale",
            json={"spec": {"replicas": 5}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert scaled.status_code == 200, scaled.text
        assert apiserver.http.get(path).json()["spec"]["isolate"]["hosts"]["min"] == 5
        refused = apiserver.http.patch(
            f"{path}/scale",
            json={"spec": {"replicas": 50}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert "write a whole number of hosts from 1 to 20" in refused.json()["message"]
    finally:
        apiserver.delete(manifest).raise_for_status()


def _columns(apiserver: ApiServer, path: str) -> dict[str, Any]:
    table = apiserver.http.get(path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}).json()
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))
