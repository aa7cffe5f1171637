"""The pure parts of ambit.kube: paths, errors, reviews."""

from typing import Any

import pytest

from ambit.kube import AlreadyExists, ApiError, Conflict, Forbidden, Identity, Invalid, Resource
from ambit.kube.errors import from_answer
from ambit.kube.resources import AGENTS, NAMESPACES, PODS
from ambit.kube.reviews import reviewed_identity


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("a", "b", "log"), "/api/v1/namespaces/a/pods/b/log"),
        (AGENTS.path("a"), "/apis/ambit.dev/v1alpha1/namespaces/a/agents"),
        (NAMESPACES.path(name="a"), "/api/v1/namespaces/a"),
        (PODS.path("a", "../b"), "/api/v1/namespaces/a/pods/..%2Fb"),
    ],
)
def test_paths(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize(("resource", "namespace", "name"), [(PODS, None, "b"), (NAMESPACES, "a", "b")])
def test_a_path_that_cannot_exist_is_refused(resource: Resource, namespace: str | None, name: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        resource.path(namespace, name)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            409,
            b'{"kind":"Status","reason":"AlreadyExists","message":"pods \\"a\\" already exists"}',
            AlreadyExists,
            None,
        ),
        (409, b'{"kind":"Status","reason":"Conflict","message":"the object has been modified"}', Conflict, None),
        (403, b'{"reason":"Forbidden","message":"exceeded quota: q"}', Forbidden, "exceeded quota: q"),
        (422, b'{"reason":"Invalid","message":"spec.runtime: write 30m"}', Invalid, "spec.runtime: write 30m"),
        (502, b"bad gateway\n", ApiError, "bad gateway"),
        (500, b"{}", ApiError, "the apiserver answered 500 without a message"),
    ],
)
def test_refusals_are_types_with_the_apiservers_own_message(
    status: int, body: bytes, kind: type[ApiError], message: str | None
) -> None:
    error = from_answer(status, body, "POST /x")
    assert type(error) is kind
    assert error.status == status
    if message is not None:
        assert str(error) == message


def a_review(**status: Any) -> dict[str, Any]:
    return {"status": {"authenticated": True, "user": {"username": "alice"}} | status}


@pytest.mark.parametrize(
    ("review", "audiences", "username"),
    [
        (a_review(), (), "alice"),
        (a_review(audiences=["ambit-ledger"]), ("ambit-ledger",), "alice"),
        (a_review(audiences=["https://kubernetes.default.svc"]), ("ambit-ledger",), None),
        (a_review(), ("ambit-ledger",), None),
        (a_review(authenticated=False), (), None),
        ({"status": {"error": "expired"}}, (), None),
    ],
)
def test_a_token_counts_only_for_an_audience_of_its_own(
    review: dict[str, Any], audiences: tuple[str, ...], username: str | None
) -> None:
    identity = reviewed_identity(review, audiences)
    assert (identity.username if identity else None) == username


def test_a_projected_token_names_its_pod() -> None:
    extra = {
        "authentication.kubernetes.io/pod-name": ["host-0"],
        "authentication.kubernetes.io/pod-uid": ["123"],
    }
    identity = reviewed_identity(a_review(user={"username": "sa", "extra": extra}), ())
    assert identity is not None
    assert (identity.pod_name, identity.pod_uid) == ("host-0", "123")
    assert Identity("alice").pod_uid is None
