"""The authorities of client certificates, as the apiserver publishes them for such as us.

`kube-system/extension-apiserver-authentication` holds `client-ca-file`, the bundle that the apiserver itself checks
clients against. Some clusters publish none: then tokens are the only way in.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from ambit.kube import KubeClient, ListWatch
from ambit.kube.resources import CONFIG_MAPS

NAMESPACE: Final = "kube-system"
NAME: Final = "extension-apiserver-authentication"


class _Data(msgspec.Struct):
    client_ca: str = msgspec.field(name="client-ca-file", default="")


class _ConfigMap(msgspec.Struct):
    data: _Data = msgspec.field(default_factory=_Data)


def _decode(raw: bytes) -> str:
    return msgspec.json.decode(raw, type=_ConfigMap).data.client_ca


class ClientAuthority:
    """The bundle (PEM), kept up to date while `watch` runs."""

    def __init__(self, client: KubeClient) -> None:
        # The Role that Kubernetes has for this names the one ConfigMap, hence the field selector.
        self.watch = ListWatch(
            client, CONFIG_MAPS, _decode, namespace=NAMESPACE, field_selector=f"metadata.name={NAME}"
        )

    @property
    def pem(self) -> str:
        """The bundle; empty where the cluster publishes none."""
        return self.watch.items.get((NAMESPACE, NAME), "")

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Calls back when the bundle changed; the answer ends that."""
        return self.watch.subscribe(lambda change: changed() if change.before != change.after else None)
