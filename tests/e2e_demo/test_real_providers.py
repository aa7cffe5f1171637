"""Routes to the real providers: what is made of a key, where, and that nobody sees the key."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from ambit.api.model_route import ModelRoute
from ambit.api.quantities import parse_count, parse_price_picos_per_token
from e2e.cluster.progress import Progress
from e2e.demo.real_providers import REAL_PROVIDERS, credentials, manifests, without_keys
from e2e.demo.steps import add_real_providers
from e2e.demo.tools import Cluster, DemoFailed
from e2e.install import Kubectl

KEY = "sk-a-key-that-nobody-may-see"
OTHER = "sk-ant-another"
BOTH = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": OTHER}


def of_kind(kind: str, environ: dict[str, str]) -> list[dict[str, Any]]:
    return [each for each in manifests(credentials(environ)) if each["kind"] == kind]


def test_a_key_that_is_set_makes_a_secret_and_a_route_to_its_provider_and_one_grant() -> None:
    made = [(each["kind"], each["metadata"]["name"]) for each in manifests(credentials(BOTH))]
    assert made == [
        ("RoleBinding", "ambit-credentials"),
        ("Secret", "openai"),
        ("ModelRoute", "openai"),
        ("Secret", "anthropic"),
        ("ModelRoute", "anthropic"),
    ]
    assert [secret["stringData"] for secret in of_kind("Secret", BOTH)] == [{"apiKey": KEY}, {"apiKey": OTHER}]


def test_each_key_makes_only_its_own_providers_route() -> None:
    assert [each["metadata"]["name"] for each in of_kind("ModelRoute", {"ANTHROPIC_API_KEY": OTHER})] == ["anthropic"]


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": " \n"}, {"API_KEY": KEY}])
def test_without_a_key_nothing_is_made(environ: dict[str, str]) -> None:
    assert manifests(credentials(environ)) == []


def test_the_grant_is_the_one_that_the_gateway_asks_for() -> None:
    (grant,) = of_kind("RoleBinding", BOTH)
    assert (grant["roleRef"]["kind"], grant["roleRef"]["name"]) == ("ClusterRole", "ambit-credential-reader")
    assert grant["subjects"] == [{"kind": "ServiceAccount", "name": "ambit-gateway", "namespace": "ambit-system"}]


@pytest.mark.parametrize("name", [provider.name for provider in REAL_PROVIDERS])
def test_a_route_is_one_that_the_api_takes_and_its_price_holds_for_every_call(name: str) -> None:
    (manifest,) = [each for each in of_kind("ModelRoute", BOTH) if each["metadata"]["name"] == name]
    manifest["metadata"] |= {"namespace": "demo", "uid": "1", "generation": 1}
    (backend,) = ModelRoute.from_dict(manifest).spec.backends
    assert backend.url.startswith("https://api.")
    assert backend.credential_ref is not None
    assert (backend.credential_ref.name, backend.credential_ref.key) == (name, "apiKey")
    price = backend.price
    assert price.cache_read is not None
    assert price.cache_write is not None
    stated = (price.cache_read, price.input, price.cache_write, price.output)
    picos = [parse_price_picos_per_token(str(each)) for each in stated]
    assert picos == sorted(picos)
    assert picos[0] > 0
    dearer_from = {"openai": 272_000, "anthropic": 100_000}  # tokens of a prompt, as the providers state it
    assert parse_count(str(backend.limits.context_tokens)) <= dearer_from[name]


def test_a_key_shows_nowhere_when_a_credential_is_printed_or_a_message_holds_it() -> None:
    given = credentials(BOTH)
    assert KEY not in repr(given)
    assert without_keys(f"no: {KEY}, {OTHER}", given) == (
        "no: (the value of OPENAI_API_KEY), (the value of ANTHROPIC_API_KEY)"
    )


class Stand:
    """A program in kubectl's place that notes how it was called and what it was given, and the demo's output."""

    def __init__(self, folder: Path, then: str) -> None:
        self._folder = folder
        self.output = io.StringIO()
        self.progress = Progress(self.output)
        program = folder / "kubectl"
        program.write_text(f'#!/bin/sh\necho "$@" > {folder}/arguments\ncat > {folder}/stdin\n{then}\n')
        program.chmod(0o755)
        self.kubectl = Kubectl(folder / "kubeconfig", program)

    def seen(self, what: str) -> str | None:
        path = self._folder / what
        return path.read_text() if path.exists() else None


@pytest.mark.parametrize("provided_by", ["kind", "current"])
def test_a_key_goes_through_stdin_alone(tmp_path: Path, provided_by: str) -> None:
    stand = Stand(tmp_path, "exit 0")
    add_real_providers(Cluster("ambit", provided_by), stand.kubectl, "demo-1", BOTH, stand.progress)
    given = json.loads(stand.seen("stdin") or "")
    assert given["items"] == manifests(credentials(BOTH))
    assert "create --namespace demo-1 --filename -" in (stand.seen("arguments") or "")
    said = stand.output.getvalue()
    assert "ModelRoute openai" in said
    assert "ModelRoute anthropic" in said
    for key in BOTH.values():
        assert key not in (stand.seen("arguments") or "")
        assert key not in said


def test_a_refusal_that_repeats_what_it_was_given_does_not_show_the_key(tmp_path: Path) -> None:
    stand = Stand(tmp_path, f"cat {tmp_path}/stdin >&2; exit 1")
    with pytest.raises(DemoFailed, match="the value of OPENAI_API_KEY") as failed:
        add_real_providers(Cluster("ambit", "kind"), stand.kubectl, "demo-1", BOTH, stand.progress)
    assert KEY not in str(failed.value)
    assert failed.value.__suppress_context__
    assert KEY not in stand.output.getvalue()


def test_the_embedded_cluster_gets_no_route_and_the_output_says_so(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "exit 0")
    add_real_providers(Cluster("ambit", "embedded"), stand.kubectl, "demo-1", BOTH, stand.progress)
    assert stand.seen("arguments") is None
    said = stand.output.getvalue()
    assert "OPENAI_API_KEY and ANTHROPIC_API_KEY" in said
    assert "no way out" in said
    assert KEY not in said


def test_without_keys_nothing_is_said(tmp_path: Path) -> None:
    stand = Stand(tmp_path, "exit 0")
    add_real_providers(Cluster("ambit", "kind"), stand.kubectl, "demo-1", {}, stand.progress)
    assert stand.seen("arguments") is None
    assert stand.output.getvalue() == ""
