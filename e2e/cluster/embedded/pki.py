"""Certificates, keys and kubeconfigs of one cluster, made with openssl in half a second."""

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.embedded.layout import API_SERVICE, Layout, Node

VALID_DAYS = "365"
CLUSTER_CA = "ca"
ETCD_CA = "etcd-ca"
FRONT_PROXY_CA = "front-proxy-ca"
SERVICE_ACCOUNT_KEY = "service-account.key"
SERVICE_ACCOUNT_PUBLIC_KEY = "service-account.pub"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """`user` and `groups` are what the apiserver reads from it; `names`, if any, make it a server's as well."""

    name: str
    user: str
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    ca: str = CLUSTER_CA


ADMIN = Certificate("admin", "admin", ("system:masters",))
CONTROLLER_MANAGER = Certificate("kube-controller-manager", "system:kube-controller-manager")
SCHEDULER = Certificate("kube-scheduler", "system:kube-scheduler")
KUBE_PROXY = Certificate("kube-proxy", "system:kube-proxy")
CALICO = Certificate("calico", "ambit:calico")
LOCAL_PATH = Certificate("local-path-provisioner", "ambit:local-path-provisioner")
KWOK = Certificate("kwok", "ambit:kwok", ("system:masters",))
APISERVER_TO_KUBELET = Certificate("apiserver-kubelet-client", "ambit:apiserver", ("system:masters",))
FRONT_PROXY = Certificate("front-proxy-client", "front-proxy-client", ca=FRONT_PROXY_CA)
ETCD_CLIENT = Certificate("etcd-client", "etcd-client", ca=ETCD_CA)
_KUBECONFIG_OWNERS = (ADMIN, CONTROLLER_MANAGER, SCHEDULER, KUBE_PROXY, CALICO, LOCAL_PATH, KWOK)


def apiserver_certificate(layout: Layout) -> Certificate:
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    names = (*(f"DNS:{name}" for name in service), f"IP:{API_SERVICE}", f"IP:{layout.host}")
    return Certificate("apiserver", "kube-apiserver", names=names)


def etcd_certificate(layout: Layout) -> Certificate:
    return Certificate("etcd", "etcd", names=(f"IP:{layout.host}",), ca=ETCD_CA)


def kubelet_certificate(node: Node) -> Certificate:
    """For both directions: the kubelet calls the apiserver and is called by it."""
    names = (f"DNS:{node.name}", f"IP:{node.address}")
    return Certificate(f"kubelet-{node.name}", f"system:node:{node.name}", ("system:nodes",), names)


def ensure(layout: Layout, nodes: Sequence[Node]) -> None:
    """Makes what is not there yet. A cluster's certificates are never replaced while it lives."""
    folder = layout.certificates
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.kubeconfigs.mkdir(exist_ok=True, mode=0o700)
    kubelets = [kubelet_certificate(node) for node in nodes]
    servers = [apiserver_certificate(layout), etcd_certificate(layout)]
    clients = [*_KUBECONFIG_OWNERS, APISERVER_TO_KUBELET, FRONT_PROXY, ETCD_CLIENT]
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_authority, folder), (CLUSTER_CA, ETCD_CA, FRONT_PROXY_CA)))
        list(pool.map(partial(_issue, folder), [*kubelets, *servers, *clients]))
    _service_account_keys(folder)
    for owner in (*_KUBECONFIG_OWNERS, *kubelets):
        kubeconfig(layout, owner).write_text(_kubeconfig(layout, owner))


def kubeconfig(layout: Layout, owner: Certificate) -> Path:
    return layout.kubeconfigs / owner.name


def _authority(folder: Path, name: str) -> None:
    if (folder / f"{name}.crt").exists():
        return
    _openssl_req(folder, name, f"/CN={name}", ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"))


def _issue(folder: Path, certificate: Certificate) -> None:
    if (folder / f"{certificate.name}.crt").exists():
        return
    subject = "".join(f"/O={group}" for group in certificate.groups) + f"/CN={certificate.user}"
    usages = "clientAuth,serverAuth" if certificate.names else "clientAuth"
    extensions = ["keyUsage=critical,digitalSignature", f"extendedKeyUsage={usages}", "basicConstraints=CA:FALSE"]
    if certificate.names:
        extensions.append(f"subjectAltName={','.join(certificate.names)}")
    signed_by = ("-CA", str(folder / f"{certificate.ca}.crt"), "-CAkey", str(folder / f"{certificate.ca}.key"))
    _openssl_req(folder, certificate.name, subject, extensions, signed_by)


def _openssl_req(
    folder: Path, name: str, subject: str, extensions: Iterable[str], signed_by: tuple[str, ...] = ()
) -> None:
    unfinished = folder / f"{name}.crt.new"
    run(
        [
            *("openssl", "req", "-x509", *_KEY, "-days", VALID_DAYS, "-subj", subject, *signed_by),
            # Without a configuration of the machine's, whose defaults would be added to ours.
            *("-config", "/dev/null"),
            *(argument for extension in extensions for argument in ("-addext", extension)),
            *("-keyout", str(folder / f"{name}.key"), "-out", str(unfinished)),
        ]
    )
    unfinished.rename(folder / f"{name}.crt")


def _service_account_keys(folder: Path) -> None:
    private, public = folder / SERVICE_ACCOUNT_KEY, folder / SERVICE_ACCOUNT_PUBLIC_KEY
    if not public.exists():
        run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private)])
        run(["openssl", "ec", "-in", str(private), "-pubout", "-out", str(public)])


def _kubeconfig(layout: Layout, owner: Certificate) -> str:
    """With its certificates inside, so that the file can be copied anywhere. JSON is YAML."""
    folder = layout.certificates
    context = f"ambit-{layout.name}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": context, "user": f"{context}-{owner.name}"}}],
        "clusters": [
            {
                "name": context,
                "cluster": {"server": layout.api_url, "certificate-authority-data": _data(folder / "ca.crt")},
            }
        ],
        "users": [
            {
                "name": f"{context}-{owner.name}",
                "user": {
                    "client-certificate-data": _data(folder / f"{owner.name}.crt"),
                    "client-key-data": _data(folder / f"{owner.name}.key"),
                },
            }
        ],
    }
    return json.dumps(content, indent=1) + "\n"


def _data(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()
