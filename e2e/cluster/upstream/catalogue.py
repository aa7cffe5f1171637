"""What is built, from which module of this folder, and how. Versions are in the modules' go.mod."""

from collections.abc import Mapping
from dataclasses import dataclass, field

KUBERNETES_VERSION = "v1.36.3"
_CALICO = "github.com/projectcalico/calico"
_CONTAINERD = "github.com/containerd/containerd/v2"


@dataclass(frozen=True)
class Binary:
    """A Go program. `package` is built in the folder `module`; `minutes` is what a cold build takes on two cores."""

    name: str
    module: str
    package: str
    minutes: float
    tags: tuple[str, ...] = ()
    cgo: bool = False
    link_variables: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class ModuleFiles:
    """Files that an upstream module carries and that no Go program embeds, kept as one YAML stream."""

    name: str
    module: str
    dependency: str
    paths: tuple[str, ...]


Artifact = Binary | ModuleFiles


def _kubernetes_version() -> dict[str, str]:
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    # Without it the version is v0.0.0-master, on which clients choke.
    return {
        f"{package}.{variable}": value
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for variable, value in (
            ("gitVersion", KUBERNETES_VERSION),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        )
    }


KUBERNETES = Binary("kubernetes", "kubernetes", ".", 5, link_variables=_kubernetes_version())
NODE_TOOLS = Binary("node-tools", "node-tools", ".", 0.1)

_NO_SNAPSHOTTERS = ("no_btrfs", "no_devmapper", "no_zfs", "no_aufs")
CONTAINERD = Binary("containerd", "containerd", f"{_CONTAINERD}/cmd/containerd", 1, _NO_SNAPSHOTTERS)
RUNC_SHIM = Binary("containerd-shim-runc-v2", "containerd", f"{_CONTAINERD}/cmd/containerd-shim-runc-v2", 0.2)
CTR = Binary("ctr", "containerd", f"{_CONTAINERD}/cmd/ctr", 0.2, _NO_SNAPSHOTTERS)
RUNC = Binary("runc", "runc", "github.com/opencontainers/runc", 0.2, ("seccomp",), cgo=True)
# A runsc with cgo is linked dynamically and cannot run itself again in its chroot.
RUNSC = Binary("runsc", "gvisor", "gvisor.dev/gvisor/runsc", 1)
RUNSC_SHIM = Binary("containerd-shim-runsc-v1", "gvisor", ".", 0.2)
COREDNS = Binary("coredns", "coredns", "github.com/coredns/coredns", 2)
FELIX = Binary("calico-felix", "calico", f"{_CALICO}/felix/cmd/calico-felix", 4)
CALICO_CNI = Binary("calico", "calico", f"{_CALICO}/cni-plugin/cmd/calico", 0.2)
_CNI_PLUGINS = "github.com/containernetworking/plugins/plugins"
HOST_LOCAL = Binary("host-local", "cni", f"{_CNI_PLUGINS}/ipam/host-local", 0.1)
PORTMAP = Binary("portmap", "cni", f"{_CNI_PLUGINS}/meta/portmap", 0.1)
LOCAL_PATH = Binary("local-path-provisioner", "local-path-provisioner", "github.com/rancher/local-path-provisioner", 1)
HELM = Binary("helm", "helm", "helm.sh/helm/v4/cmd/helm", 2)
KWOK = Binary("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", 2)

CALICO_CRDS = ModuleFiles(
    "calico-crds.yaml",
    "calico",
    _CALICO,
    tuple(
        f"libcalico-go/config/crd/crd.projectcalico.org_{kind}.yaml"
        for kind in (
            "bgpconfigurations",
            "clusterinformations",
            "felixconfigurations",
            "globalnetworkpolicies",
            "globalnetworksets",
            "hostendpoints",
            "ippools",
            "networkpolicies",
            "networksets",
        )
    ),
)
KWOK_STAGES = ModuleFiles(
    "kwok-stages.yaml",
    "kwok",
    "sigs.k8s.io/kwok",
    (
        "kustomize/stage/node/fast/node-initialize.yaml",
        "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
        "kustomize/stage/pod/fast/pod-ready.yaml",
        "kustomize/stage/pod/fast/pod-complete.yaml",
        "kustomize/stage/pod/fast/pod-delete.yaml",
    ),
)

CNI_PLUGINS = (CALICO_CNI, HOST_LOCAL, PORTMAP)
CONTROL_PLANE: tuple[Artifact, ...] = (KUBERNETES,)
NODE: tuple[Artifact, ...] = (
    NODE_TOOLS,
    CONTAINERD,
    RUNC_SHIM,
    CTR,
    RUNC,
    RUNSC,
    RUNSC_SHIM,
    COREDNS,
    FELIX,
    *CNI_PLUGINS,
    CALICO_CRDS,
    LOCAL_PATH,
)
FAKE_NODES: tuple[Artifact, ...] = (KWOK, KWOK_STAGES)

# What users of a cluster call themselves: the name they know, and the binary that answers to it.
TOOLS: Mapping[str, Binary] = {"kubectl": KUBERNETES, "helm": HELM}
