"""The chart: strict lint, no unknown values, restricted pods, least rights, and nothing that changes by itself."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ambit.ledger.settings import Settings
from ambit.telemetry.tracing.settings import TracingSettings
from tests.chart.conftest import CHART, Manifest

Render = Callable[..., list[Manifest]]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]
CRDS = CHART.parents[1] / "crds"


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pod_specs(manifests: list[Manifest]) -> dict[str, Any]:
    workloads = of_kind(manifests, "Deployment", "StatefulSet", "Job")
    return {workload["metadata"]["name"]: workload["spec"]["template"]["spec"] for workload in workloads}


def test_lint_finds_nothing(helm: Helm) -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replicas": 2}, "replicas"),
        ({"gateway": {"replica": 2}}, "replica"),
        ({"ledger": {"replicas": 2}}, "replicas"),
        ({"ledger": {"replicas": 3, "postgres": {"url": "postgres://a@db/a"}}}, "replicas"),
        ({"ledger": {"postgres": {"url": "mysql://a@db/a"}}}, "url"),
        ({"ledger": {"postgres": {"partitions": 16}}}, "partitions"),
        ({"ledger": {"postgres": {"url": "postgres://a@db/a", "partitions": 65}}}, "partitions"),
        ({"gateway": {"replicas": 0}}, "replicas"),
        ({"ledger": {"storage": {"size": "1 GB"}}}, "size"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"tracing": {"endpoint": "collector:4317"}}, "endpoint"),
        ({"tracing": {"endpoint": "http://collector:4318", "sampleRatio": 10}}, "sampleRatio"),
        ({"docsUrl": "https://git.example/docs/"}, "docsUrl"),
        ({"docsUrl": "git.example/docs"}, "docsUrl"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Helm, values: Manifest, named: str) -> None:
    done = helm("template", "ambit", str(CHART), values=values)
    assert done.returncode != 0
    assert named in done.stderr


def test_the_crds_are_the_generated_ones_and_are_kept(render: Render) -> None:
    rendered = {crd["metadata"]["name"]: crd for crd in of_kind(render(), "CustomResourceDefinition")}
    generated = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    assert len(generated) == 5
    assert sorted(rendered) == sorted(crd["metadata"]["name"] for crd in generated)
    for crd in generated:
        ours = rendered[crd["metadata"]["name"]]
        assert ours["spec"] == crd["spec"]
        assert ours["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_every_pod_is_restricted(render: Render) -> None:
    specs = pod_specs(render())
    assert set(specs) == {"ambit-operator", "ambit-gateway", "ambit-ledger", "ambit-drain"}
    for spec in specs.values():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_the_ledger_is_never_doubled_and_its_volume_stays(render: Render) -> None:
    manifests = render()
    (ledger,) = [m for m in of_kind(manifests, "Deployment") if m["metadata"]["name"] == "ambit-ledger"]
    assert (ledger["spec"]["replicas"], ledger["spec"]["strategy"]) == (1, {"type": "Recreate"})
    (claim,) = of_kind(manifests, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_with_postgres_a_second_ledger_stands_by_and_there_is_no_volume(render: Render) -> None:
    postgres = {"url": "postgres://ambit@db-1,db-2/ambit", "passwordSecret": {"name": "db", "key": "pass"}}
    manifests = render(ledger={"replicas": 2, "postgres": postgres})
    (ledger,) = [m for m in of_kind(manifests, "Deployment") if m["metadata"]["name"] == "ambit-ledger"]
    assert ledger["spec"]["replicas"] == 2
    assert ledger["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "100%"}
    assert of_kind(manifests, "PersistentVolumeClaim") == []
    pod = ledger["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environ = {each["name"]: each["value"] for each in container["env"]}
    assert environ["AMBIT_LEDGER_STORE"] == postgres["url"]
    assert "AMBIT_LEDGER_DATA" not in environ
    (volume,) = [each for each in pod["volumes"] if each["name"] == "postgres"]
    assert volume["secret"] == {"secretName": "db", "items": [{"key": "pass", "path": "password"}]}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "postgres"]
    assert environ["AMBIT_LEDGER_STORE_PASSWORD_FILE"] == f"{mount['mountPath']}/password"


def test_with_partitions_any_number_of_ledgers_write_and_are_reached_one_by_one(render: Render) -> None:
    manifests = render(ledger={"replicas": 3, "postgres": {"url": "postgres://a@db/a", "partitions": 16}})
    (ledger,) = [m for m in of_kind(manifests, "Deployment") if m["metadata"]["name"] == "ambit-ledger"]
    assert ledger["spec"]["replicas"] == 3
    assert ledger["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    (container,) = ledger["spec"]["template"]["spec"]["containers"]
    environ = {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
    assert environ["AMBIT_LEDGER_PARTITIONS"] == "16"
    assert environ["AMBIT_LEDGER_HOST"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    values = {name: value for name, value in environ.items() if isinstance(value, str)}
    settings = Settings.from_env({**values, "AMBIT_LEDGER_HOST": "10.0.0.7"})
    assert (settings.partitions, settings.advertise) == (16, "http://10.0.0.7:8090")


def test_no_component_has_a_wildcard_or_reads_secrets_of_others(render: Render) -> None:
    for role in of_kind(render(), "ClusterRole"):
        name = role["metadata"]["name"]
        if name == "ambit-credential-reader":
            continue
        for rule in role["rules"]:
            assert name == "ambit-admin" or "*" not in rule["verbs"], name
            assert "*" not in rule["resources"], name
            if "secrets" in rule["resources"]:
                assert rule["verbs"] == ["create"], name


def test_edit_gives_no_right_on_money(render: Render) -> None:
    roles = {role["metadata"]["name"]: role for role in of_kind(render(), "ClusterRole")}
    written = {
        resource
        for rule in roles["ambit-edit"]["rules"]
        for resource in rule["resources"]
        if set(rule["verbs"]) & {"create", "update", "patch", "delete"}
    }
    assert written == {"agents", "sandboxes", "agents/sessions"}
    assert not [label for label in roles["ambit-admin"]["metadata"]["labels"] if "aggregate" in label]


def test_rendering_twice_gives_the_same(helm: Helm) -> None:
    first, second = (helm("template", "ambit", str(CHART)).stdout for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"gateway": {"replicas": 3}}, '"replicas": 3'),
        ({"logLevel": "DEBUG"}, '"value": "DEBUG"'),
        ({"image": {"ambit": "registry.example/ambit:7"}}, "registry.example/ambit:7"),
        ({"image": {"isolateHost": "registry.example/host:7"}}, "registry.example/host:7"),
        ({"image": {"pullSecrets": [{"name": "pull-secret"}]}}, "pull-secret"),
        ({"image": {"pullPolicy": "Always"}}, '"imagePullPolicy": "Always"'),
        ({"operator": {"nodeSelector": {"disk": "fast"}}}, '"disk": "fast"'),
        ({"gateway": {"tolerations": [{"key": "gpu"}]}}, '"key": "gpu"'),
        ({"ledger": {"affinity": {"nodeAffinity": {}}}}, "nodeAffinity"),
        ({"ledger": {"priorityClassName": "system-cluster-critical"}}, "system-cluster-critical"),
        ({"ledger": {"storage": {"size": "7Gi"}}}, '"storage": "7Gi"'),
        ({"ledger": {"storage": {"className": "fast"}}}, '"storageClassName": "fast"'),
        ({"gateway": {"podAnnotations": {"team": "a"}}}, '"team": "a"'),
        ({"gateway": {"podLabels": {"team": "b"}}}, '"team": "b"'),
        ({"gateway": {"resources": {"limits": {"memory": "77Mi"}}}}, "77Mi"),
        ({"gateway": {"terminationGracePeriodSeconds": 77}}, '"terminationGracePeriodSeconds": 77'),
        ({"access": {"connect": [{"kind": "Group", "name": "engineers"}]}}, "engineers"),
        ({"monitoring": {"prometheusRule": True}}, '"PrometheusRule"'),
    ],
)
def test_each_value_does_something(render: Render, values: Manifest, wanted: str) -> None:
    def text(**given: Any) -> str:
        return json.dumps(render(**given))

    assert wanted not in text()
    assert wanted in text(**values)


def test_the_dashboard_can_be_left_out(render: Render) -> None:
    assert of_kind(render(), "ConfigMap")
    assert not of_kind(render(monitoring={"dashboard": False}), "ConfigMap")


def test_the_chart_carries_a_file_for_each_crd() -> None:
    copies = {path.name: path.read_text() for path in (CHART / "files" / "crds").glob("*.yaml")}
    assert copies == {path.name: path.read_text() for path in Path(CRDS).glob("*.yaml")}


def test_spans_go_where_the_values_say_and_nowhere_else(render: Render) -> None:
    def of_opentelemetry(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
        return {
            name: {
                each["name"]: each["value"] for each in spec["containers"][0]["env"] if each["name"].startswith("OTEL_")
            }
            for name, spec in pod_specs(manifests).items()
            if name != "ambit-drain"
        }

    assert of_opentelemetry(render()) == {"ambit-operator": {}, "ambit-gateway": {}, "ambit-ledger": {}}
    traced = render(tracing={"endpoint": "http://collector:4318", "sampleRatio": 0.001})
    for environ in of_opentelemetry(traced).values():
        assert TracingSettings.from_env(environ) == TracingSettings(
            "http://collector:4318/v1/traces", "parentbased_traceidratio", 0.001
        )
