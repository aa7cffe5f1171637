"""Dashboard and alerts ask for metrics that exist, in PromQL that Prometheus takes; each alert has a runbook."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ambit.telemetry import metrics
from e2e.promtool import promtool
from tests.chart.conftest import CHART, Manifest

ALERTS = CHART / "files" / "alerts.yaml"
STANDBY_ALERTS = CHART / "files" / "alerts-standby.yaml"
DASHBOARD = CHART / "files" / "dashboards" / "ambit.json"
RUNBOOKS = CHART.parents[1] / "docs" / "runbooks.md"
NAME = re.compile(r"\bambit_[a-z_]+")


def defined_names() -> set[str]:
    """The series of `ambit.telemetry.metrics`, as Prometheus sees them."""
    names: set[str] = set()
    for value in vars(metrics).values():
        if isinstance(value, tuple):
            names.add(str(value[0]))  # pyright: ignore[reportUnknownArgumentType] -- (name, help), read at each scrape
        elif hasattr(value, "describe") and not isinstance(value, type):
            for family in value.describe():
                name, kind = str(family.name), str(family.type)
                names |= {f"{name}_total"} if kind == "counter" else {name}
                if kind == "histogram":
                    names |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    return names


def dashboard_queries() -> list[str]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def alert_rules() -> list[dict[str, Any]]:
    files = (ALERTS, STANDBY_ALERTS)
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def test_every_query_names_metrics_that_exist() -> None:
    asked = {
        name for query in [*dashboard_queries(), *(r["expr"] for r in alert_rules())] for name in NAME.findall(query)
    }
    assert len(asked) > 10
    assert asked <= defined_names()


def test_the_alerts_are_rules_that_prometheus_takes() -> None:
    command = [str(promtool()), "check", "rules", str(ALERTS), str(STANDBY_ALERTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(map(int, re.findall(r"(\d+) rules found", done.stdout))) == len(alert_rules())


def test_the_dashboards_queries_are_promql(tmp_path: Path) -> None:
    queries = [re.sub(r"\$(namespace|budget)", ".*", query) for query in dashboard_queries()]
    rules = {"groups": [{"name": "d", "rules": [{"record": f"r:{n}", "expr": q} for n, q in enumerate(queries)]}]}
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump(rules))
    done = subprocess.run([str(promtool()), "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_each_alert_has_its_runbook(rule: dict[str, Any]) -> None:
    anchor = rule["annotations"]["runbook_url"].rpartition("#")[2]
    assert anchor == rule["alert"].lower()
    assert f"## {rule['alert']}\n" in RUNBOOKS.read_text()


@pytest.mark.parametrize("docs_url", ["docs", "https://git.example/ambit/blob/main/docs"])
def test_runbooks_are_where_the_documentation_is(render: Callable[..., list[Manifest]], docs_url: str) -> None:
    with_standby = {"replicas": 2, "postgres": {"url": "postgres://ambit@db/ambit"}}
    manifests = render(docsUrl=docs_url, monitoring={"prometheusRule": True}, ledger=with_standby)
    (rule,) = [each for each in manifests if each["kind"] == "PrometheusRule"]
    urls = [each["annotations"]["runbook_url"] for group in rule["spec"]["groups"] for each in group["rules"]]
    assert len(urls) == len(alert_rules())
    assert all(url.startswith(f"{docs_url}/runbooks.md#") for url in urls)
    (gateway,) = [
        each for each in manifests if each["metadata"]["name"] == "ambit-gateway" and each["kind"] == "Deployment"
    ]
    (container,) = gateway["spec"]["template"]["spec"]["containers"]
    assert {"name": "AMBIT_DOCS_URL", "value": docs_url} in container["env"]


def test_values_of_a_release_that_did_not_know_the_documentations_address_can_be_used_again(
    helm: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    done = helm("install", "ambit", str(CHART), "--dry-run=client", "--set", "docsUrl=null", "--namespace", "a")
    assert done.returncode == 0, done.stderr
    assert 'AMBIT_DOCS_URL, value: "docs"' in done.stdout
    assert "are paths in Ambit's source" in done.stdout


def test_one_ledger_alone_is_not_asked_for_a_standby(render: Callable[..., list[Manifest]]) -> None:
    (rule,) = [each for each in render(monitoring={"prometheusRule": True}) if each["kind"] == "PrometheusRule"]
    alerts = {each["alert"] for group in rule["spec"]["groups"] for each in group["rules"]}
    assert alerts == {each["alert"] for each in alert_rules()} - {"AmbitLedgerNoStandby"}


REFUSED = 'ambit_budget_refusals_total{namespace="a",budget="b",window="Day",resource="usd",result="Refused"}'
ALERT_CASES = {
    "AmbitBudgetNearlyExhausted": {
        'ambit_budget_limit{namespace="a",budget="b",window="Day",resource="usd"}': "10x10",
        'ambit_budget_spent{namespace="a",budget="b",window="Day",resource="usd"}': "9.5x10",
        "ambit_ledger_open_sessions": "0x10",
    },
    "AmbitBudgetRefusing": {
        REFUSED: "_x12 1x10",
        "ambit_ledger_open_sessions": "0x20",
    },
    "AmbitLedgerAway": {"up": "0x10"},
    "AmbitLedgerClockDoubted": {"ambit_ledger_clock_doubted": "0 1x19", "ambit_ledger_open_sessions": "0x20"},
    "AmbitLedgerSettlingOnly": {"ambit_ledger_settling_only": "0 0 1x18", "ambit_ledger_open_sessions": "0x20"},
    "AmbitLedgerTermsFailing": {
        'ambit_ledger_terms_total{cause="JournalFailed"}': "1 1 2 2 3 3 4x14",
        "ambit_ledger_open_sessions": "0x20",
    },
    "AmbitLedgerSnapshotsFailing": {
        'ambit_ledger_snapshots_total{result="Failed"}': "1+1x20",
        "ambit_ledger_open_sessions": "0x20",
    },
    "AmbitLedgerNoStandby": {'ambit_ledger_writer{pod="a"}': "1x20", "ambit_ledger_open_sessions": "0x20"},
    "AmbitOverrun": {
        'ambit_ledger_overruns_total{resource="usd"}': "_ _ _ _ _ 1x15",
        "ambit_ledger_open_sessions": "0x20",
    },
    "AmbitIsolateEndUnconfirmed": {
        "ambit_isolate_ends_unconfirmed_total": "0x5 1x15",
        "ambit_ledger_open_sessions": "0x20",
    },
    "AmbitModelServerFailing": {
        'ambit_gateway_requests_total{route="a/smart",outcome="UpstreamFailed"}': "0+60x20",
        'ambit_gateway_requests_total{route="a/smart",outcome="Completed"}': "0+30x20",
        "ambit_ledger_open_sessions": "0x20",
    },
    "AmbitReconcileFailing": {
        'ambit_reconcile_total{controller="sandbox",result="error"}': "0+60x20",
        'ambit_reconcile_total{controller="sandbox",result="success"}': "0+6x20",
        "ambit_ledger_open_sessions": "0x20",
    },
}
QUIET = {
    'ambit_budget_limit{namespace="a",budget="b",window="Day",resource="usd"}': "10x20",
    'ambit_budget_spent{namespace="a",budget="b",window="Day",resource="usd"}': "5x20",
    'ambit_reconcile_total{controller="sandbox",result="error"}': "0+1x20",
    'ambit_reconcile_total{controller="sandbox",result="success"}': "0+60x20",
    'ambit_ledger_operations_total{component="gateway",operation="reserve",result="Granted"}': "0+60x20",
    "ambit_ledger_open_sessions": "3x20",
    "ambit_ledger_settling_only": "0x20",
    "ambit_ledger_clock_doubted": "0x20",
    # One that is stopped and started, as by an upgrade, and two overruns of long ago.
    'ambit_ledger_terms_total{cause="Stopped"}': "0 1 2 3x17",
    'ambit_ledger_terms_total{cause="Fenced"}': "0 1x19",
    'ambit_ledger_snapshots_total{result="Made"}': "0+1x20",
    'ambit_ledger_snapshots_total{result="Failed"}': "0+1x20",
    'ambit_ledger_writer{pod="a"}': "1x20",
    'ambit_ledger_writer{pod="b"}': "0x20",
    "ambit_isolate_ends_unconfirmed_total": "2x20",
    REFUSED: "7x20",
    'ambit_budget_refusals_total{namespace="a",budget="c",window="Day",resource="usd",result="Shadow"}': "0+1x20",
    'ambit_gateway_requests_total{route="a/smart",outcome="UpstreamFailed"}': "0+6x20",
    'ambit_gateway_requests_total{route="a/smart",outcome="Completed"}': "0+60x20",
}


def firing(tmp_path: Path, alert: str, series: dict[str, str], at: str) -> bool:
    """Whether Prometheus' own rule engine fires the alert on these series."""

    def test_file(expected: list[dict[str, Any]]) -> Path:
        path = tmp_path / f"{len(expected)}.yaml"
        inputs = [{"series": name, "values": values} for name, values in series.items()]
        case = {"eval_time": at, "alertname": alert, "exp_alerts": expected}
        tests = [{"interval": "1m", "input_series": inputs, "alert_rule_test": [case]}]
        files = [str(ALERTS), str(STANDBY_ALERTS)]
        path.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": "1m", "tests": tests}))
        return path

    done = subprocess.run(
        [str(promtool()), "test", "rules", str(test_file([]))], capture_output=True, text=True, check=False
    )
    return done.returncode != 0 and f"alertname: {alert}" in done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(ALERT_CASES))
def test_each_alert_fires_on_its_fault_and_is_quiet_otherwise(tmp_path: Path, alert: str) -> None:
    assert firing(tmp_path, alert, ALERT_CASES[alert], "15m")
    assert not firing(tmp_path, alert, QUIET, "15m")


def test_each_alert_has_its_case() -> None:
    assert set(ALERT_CASES) == {each["alert"] for each in alert_rules()}
