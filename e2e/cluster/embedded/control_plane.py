"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: their arguments, their start, their readiness."""

from collections.abc import Mapping

from e2e.cluster.commands import succeeds
from e2e.cluster.embedded import pki
from e2e.cluster.embedded.layout import SERVICES, Layout
from e2e.cluster.embedded.session import Session

ISSUER = "https://kubernetes.default.svc.cluster.local"


def start(layout: Layout, session: Session) -> None:
    """Starts what does not run yet and waits until Pods can be created."""
    for name, arguments in processes(layout).items():
        session.start(name, [name, *(f"--{flag}={value}" for flag, value in arguments.items())])
        if name == "kube-apiserver":
            session.wait(["etcd", name], lambda: ready(layout))
    # Without it no Pod is admitted; the first thing that the controller manager makes.
    account = (*kubectl(layout), "--request-timeout=5s", "get", "serviceaccount", "--namespace=default", "default")
    session.wait(["kube-controller-manager"], lambda: succeeds(account))


def ready(layout: Layout) -> bool:
    return succeeds([*kubectl(layout), "--request-timeout=5s", "get", "--raw=/readyz"])


def kubectl(layout: Layout) -> list[str]:
    return [str(layout.binaries / "kubectl"), f"--kubeconfig={layout.admin_kubeconfig}"]


def processes(layout: Layout) -> Mapping[str, Mapping[str, str]]:
    """Flags by process, in the order in which they start. All listen on the bridge's address only."""
    return {
        "etcd": _etcd(layout),
        "kube-apiserver": _apiserver(layout),
        "kube-controller-manager": _controller_manager(layout),
        "kube-scheduler": _scheduler(layout),
    }


def _etcd(layout: Layout) -> dict[str, str]:
    certificates = layout.certificates
    peer_url = f"https://{layout.host}:2380"
    tls = {
        "cert-file": f"{certificates}/etcd.crt",
        "key-file": f"{certificates}/etcd.key",
        "trusted-ca-file": f"{certificates}/{pki.ETCD_CA}.crt",
        "client-cert-auth": "true",
    }
    return {
        "data-dir": str(layout.state / "etcd"),
        # The data dies with the cluster, so a crash of the machine need not be survived.
        "unsafe-no-fsync": "true",
        "listen-client-urls": layout.etcd_url,
        "advertise-client-urls": layout.etcd_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"default={peer_url}",
        **tls,
        **{f"peer-{flag}": value for flag, value in tls.items()},
        "log-level": "warn",
    }


def _apiserver(layout: Layout) -> dict[str, str]:
    certificates = layout.certificates
    return {
        "bind-address": str(layout.host),
        "advertise-address": str(layout.host),
        "secure-port": "6443",
        "tls-cert-file": f"{certificates}/apiserver.crt",
        "tls-private-key-file": f"{certificates}/apiserver.key",
        "client-ca-file": f"{certificates}/{pki.CLUSTER_CA}.crt",
        "etcd-servers": layout.etcd_url,
        "etcd-cafile": f"{certificates}/{pki.ETCD_CA}.crt",
        "etcd-certfile": f"{certificates}/{pki.ETCD_CLIENT.name}.crt",
        "etcd-keyfile": f"{certificates}/{pki.ETCD_CLIENT.name}.key",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "service-cluster-ip-range": str(SERVICES),
        "service-account-issuer": ISSUER,
        "service-account-key-file": f"{certificates}/{pki.SERVICE_ACCOUNT_PUBLIC_KEY}",
        "service-account-signing-key-file": f"{certificates}/{pki.SERVICE_ACCOUNT_KEY}",
        "kubelet-certificate-authority": f"{certificates}/{pki.CLUSTER_CA}.crt",
        "kubelet-client-certificate": f"{certificates}/{pki.APISERVER_TO_KUBELET.name}.crt",
        "kubelet-client-key": f"{certificates}/{pki.APISERVER_TO_KUBELET.name}.key",
        "kubelet-preferred-address-types": "InternalIP",
        "proxy-client-cert-file": f"{certificates}/{pki.FRONT_PROXY.name}.crt",
        "proxy-client-key-file": f"{certificates}/{pki.FRONT_PROXY.name}.key",
        "requestheader-client-ca-file": f"{certificates}/{pki.FRONT_PROXY_CA}.crt",
        "requestheader-allowed-names": pki.FRONT_PROXY.user,
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        # No kube-proxy on the machine itself: webhooks and aggregated APIs are called at their pods' addresses.
        "enable-aggregator-routing": "true",
        "profiling": "false",
    }


def _controller_manager(layout: Layout) -> dict[str, str]:
    certificates = layout.certificates
    own = str(pki.kubeconfig(layout, pki.CONTROLLER_MANAGER))
    return {
        "bind-address": str(layout.host),
        "kubeconfig": own,
        "authentication-kubeconfig": own,
        "authorization-kubeconfig": own,
        "leader-elect": "false",
        "root-ca-file": f"{certificates}/{pki.CLUSTER_CA}.crt",
        "cluster-signing-cert-file": f"{certificates}/{pki.CLUSTER_CA}.crt",
        "cluster-signing-key-file": f"{certificates}/{pki.CLUSTER_CA}.key",
        "service-account-private-key-file": f"{certificates}/{pki.SERVICE_ACCOUNT_KEY}",
        "use-service-account-credentials": "true",
        "profiling": "false",
    }


def _scheduler(layout: Layout) -> dict[str, str]:
    own = str(pki.kubeconfig(layout, pki.SCHEDULER))
    return {
        "bind-address": str(layout.host),
        "kubeconfig": own,
        "authentication-kubeconfig": own,
        "authorization-kubeconfig": own,
        "leader-elect": "false",
        "profiling": "false",
    }
