"""What is asked of the apiserver: objects by verb, reviews, logs.

Objects are plain JSON here: what they mean is `ambit.api`'s. Caches of a kind are `listwatch`'s, logs `logs`'s; how a
request gets there is `connection`'s.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from ambit.kube import logs, reviews
from ambit.kube.connection import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, Connection
from ambit.kube.errors import Gone
from ambit.kube.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS, Resource
from ambit.kube.reviews import Access, Identity

Json = dict[str, Any]
"""One object as the apiserver writes it."""
RawObjects = list[msgspec.Raw]
Propagation = Literal["Background", "Foreground", "Orphan"]

LIST_PAGE: Final = 500

_decode = msgspec.json.Decoder(Json).decode


class KubeClient(Connection):
    """The verbs, over one connection pool. Every method raises a subclass of `ApiError`."""

    # -- objects ---------------------------------------------------------
    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, subresource: str | None = None
    ) -> Json:
        """One object."""
        return await self._json("GET", resource, resource.path(namespace, name, subresource))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> list[Json]:
        """All objects of a kind, in one namespace or in all, as they were at one moment."""
        raw, _ = await self.list_raw(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        return [_decode(item) for item in raw]

    async def list_raw(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> tuple[RawObjects, str]:
        """As `list`, undecoded, with the resource version of that moment: where a watch goes on."""
        selectors = selector_query(label_selector, field_selector)
        path = resource.path(namespace)
        items: RawObjects = []
        query = selectors | {"limit": str(LIST_PAGE)}
        while True:
            try:
                body = await self.request("GET", resource, path, query=query)
            except Gone:
                # The continuation outlived the apiserver's history: begin again, and take all of it at once.
                items, query = [], dict(selectors)
                continue
            page = msgspec.json.decode(body, type=_Page)
            items += page.items
            if not page.metadata.continuation:
                return items, page.metadata.resource_version
            query = selectors | {"limit": str(LIST_PAGE), "continue": page.metadata.continuation}

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Json:
        """Creates one object, and gives it back as stored. `name` and `subresource` are for paths like `…/token`."""
        query = {"dryRun": "All"} if dry_run else None
        path = resource.path(namespace, name, subresource)
        return await self._json("POST", resource, path, body=body, query=query)

    async def replace(
        self, resource: Resource, name: str, body: Mapping[str, Any], namespace: str | None = None
    ) -> Json:
        """Replaces one object; `Conflict` where `metadata.resourceVersion` is given and no longer the present one."""
        return await self._json("PUT", resource, resource.path(namespace, name), body=body)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Json:
        """Merges `patch` into one object (RFC 7386); `Conflict` where its `metadata.resourceVersion` is old."""
        path = resource.path(namespace, name, subresource)
        return await self._json("PATCH", resource, path, body=patch, content_type=MERGE_PATCH)

    async def patch_status(
        self, resource: Resource, name: str, status: Mapping[str, Any], namespace: str | None = None
    ) -> Json:
        """Merges `status` into an object's status."""
        return await self.patch(resource, name, {"status": status}, namespace, subresource="status")

    async def patch_json(
        self,
        resource: Resource,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Json:
        """Applies RFC 6902 operations; never sent twice, since they need not be idempotent."""
        path = resource.path(namespace, name, subresource)
        return await self._json("PATCH", resource, path, body=operations, content_type=JSON_PATCH)

    async def apply(
        self, resource: Resource, body: Mapping[str, Any], namespace: str | None = None, *, field_manager: str
    ) -> Json:
        """Server-side apply by `field_manager`, which takes over the fields it names. The name is `metadata.name`."""
        path = resource.path(namespace, body["metadata"]["name"])
        query = {"fieldManager": field_manager, "force": "true"}
        return await self._json("PATCH", resource, path, body=body, content_type=APPLY_PATCH, query=query)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period_s: int | None = None,
        propagation: Propagation = "Background",
    ) -> None:
        """Deletes one object; `Conflict` unless it still has the UID and the resource version given."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if given := {key: value for key, value in preconditions.items() if value is not None}:
            options["preconditions"] = given
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        await self.request("DELETE", resource, resource.path(namespace, name), body=options)

    # -- identity --------------------------------------------------------
    async def token_review(self, token: str, audiences: tuple[str, ...] = ()) -> Identity | None:
        """Whose token it is; None if it is not good, or meant for none of `audiences` (empty: the apiserver's own)."""
        body = reviews.token_review(token, audiences)
        answer = await self._json("POST", TOKEN_REVIEWS, TOKEN_REVIEWS.path(), body=body, idempotent=True)
        return reviews.reviewed_identity(answer, audiences)

    async def subject_access_review(self, identity: Identity, access: Access) -> bool:
        """Whether `identity` may do `access`, by whatever authorizers the cluster has."""
        body = reviews.subject_access_review(identity, access)
        path = SUBJECT_ACCESS_REVIEWS.path()
        answer = await self._json("POST", SUBJECT_ACCESS_REVIEWS, path, body=body, idempotent=True)
        return answer["status"].get("allowed") is True

    # -- logs ------------------------------------------------------------
    def follow_log(self, namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
        """The container's output, line by line as it comes, until container or pod is gone; see `logs.follow`."""
        return logs.follow(self, namespace, pod, container)

    async def _json(
        self,
        method: str,
        resource: Resource,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
    ) -> Json:
        answer = await self.request(
            method, resource, path, body=body, content_type=content_type, query=query, idempotent=idempotent
        )
        return _decode(answer)


class _PageMeta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion")
    continuation: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    metadata: _PageMeta
    items: list[msgspec.Raw]


def selector_query(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    """The query parameters of a list or watch."""
    query = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in query.items() if value}
