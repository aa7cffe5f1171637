"""The configuration files and arguments of a node's processes. Values only.

Source of what is particular to Felix and its CNI plugin: Calico's manifests/calico-policy-only.yaml.
"""

import json
from collections.abc import Mapping
from typing import Any

from e2e.cluster.embedded import pki
from e2e.cluster.embedded.layout import DNS_SERVICE, Layout, Node

RUNSC_SHIM_TYPE = "io.containerd.runsc.v1"
FELIX_HEALTH_PORT = 9099
# What the kubelet sets on the whole machine. It gets private files in their place (see `kubelet_argv`).
SHIELDED_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def containerd_toml(layout: Layout, node: Node, sandbox_image: str, may_lower_oom_scores: bool) -> str:
    socket = node.containerd_socket
    runtime = "plugins.'io.containerd.cri.v1.runtime'"
    return f"""\
version = 4
root = '{node.folder}/containerd'
state = '{node.run}/containerd'
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.snapshotter.v1.erofs']

[plugins.'io.containerd.server.v1.grpc']
  address = '{socket}'
[plugins.'io.containerd.server.v1.ttrpc']
  address = '{socket}.ttrpc'
[plugins.'io.containerd.internal.v1.opt']
  path = '{node.folder}/opt'
[plugins.'io.containerd.metadata.v1.bolt']
  # The data dies with the cluster.
  no_sync = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{sandbox_image}'
[{runtime}]
  # Without CAP_SYS_RESOURCE runc cannot lower a score, and fails.
  restrict_oom_score_adj = {str(not may_lower_oom_scores).lower()}
[{runtime}.cni]
  bin_dirs = ['{layout.binaries}']
  conf_dir = '{node.cni_config}'
  use_internal_loopback = true
[{runtime}.containerd]
  default_runtime_name = 'runc'
[{runtime}.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  options = {{ BinaryName = '{layout.binaries}/runc' }}
[{runtime}.containerd.runtimes.runsc]
  runtime_type = '{RUNSC_SHIM_TYPE}'
  options = {{ TypeUrl = '{RUNSC_SHIM_TYPE}.options', ConfigPath = '{node.folder}/runsc.toml' }}
"""


def runsc_toml(layout: Layout) -> str:
    # The KVM platform hangs on virtual machines that offer nested virtualisation badly; systrap works everywhere.
    return f"""\
binary_name = '{layout.binaries}/runsc'
[runsc_config]
  platform = 'systrap'
"""


def kubelet_config(layout: Layout, node: Node) -> str:
    certificate = pki.kubelet_certificate(node).name
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": str(node.address),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{layout.certificates}/{pki.CLUSTER_CA}.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{layout.certificates}/{certificate}.crt",
            "tlsPrivateKeyFile": f"{layout.certificates}/{certificate}.key",
            "clusterDNS": [str(DNS_SERVICE)],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{node.cgroup}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "resolvConf": f"{node.folder}/resolv.conf",
            "podLogsDir": f"{node.folder}/pod-logs",
            "volumePluginDir": f"{node.folder}/volume-plugins",
            # Disks of laptops and CI machines are often fuller than a server's. Images were loaded: none can be pulled.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "maxPods": 110,
        }
    )


def kubelet_argv(layout: Layout, node: Node) -> list[str]:
    """In a mount namespace of its own, where files of its own lie over the sysctls that it insists on setting."""
    shield = f"{node.folder}/sysctls"
    script = (
        f"for name in {' '.join(SHIELDED_SYSCTLS)}; do"
        f" [ ! -e /proc/sys/$name ] || mount --bind {shield}/$name /proc/sys/$name || exit 1; done;"
        ' exec kubelet "$@"'
    )
    flags = {
        "config": f"{node.folder}/kubelet.json",
        "kubeconfig": str(pki.kubeconfig(layout, pki.kubelet_certificate(node))),
        "root-dir": f"{node.folder}/kubelet",
        "cert-dir": f"{node.folder}/kubelet/pki",
        "hostname-override": node.name,
        "node-ip": str(node.address),
    }
    return [
        *in_network(node),
        *("unshare", "--mount", "--propagation", "unchanged", "--", "sh", "-c", script, "kubelet"),
        *(f"--{flag}={value}" for flag, value in flags.items()),
    ]


def kube_proxy_config(layout: Layout, node: Node) -> str:
    return _json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": node.name,
            "clientConnection": {"kubeconfig": str(pki.kubeconfig(layout, pki.KUBE_PROXY))},
            "clusterCIDR": str(layout.pods),
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            # Zero leaves the machine's own limits as they are.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "oomScoreAdj": 0,
        }
    )


def felix_environment(layout: Layout, node: Node) -> Mapping[str, str]:
    return {
        "KUBECONFIG": str(pki.kubeconfig(layout, pki.CALICO)),
        "DATASTORE_TYPE": "kubernetes",
        # Not USE_POD_CIDR: it makes a tunnel address of the node's range, and Felix restarts when that appears.
        "USE_POD_CIDR": "false",
        "FELIX_DATASTORETYPE": "kubernetes",
        "FELIX_FELIXHOSTNAME": node.name,
        "FELIX_IPTABLESBACKEND": "NFT",
        "FELIX_IPV6SUPPORT": "false",
        "FELIX_BPFENABLED": "false",
        "FELIX_HEALTHENABLED": "true",
        "FELIX_HEALTHHOST": str(node.address),
        "FELIX_HEALTHPORT": str(FELIX_HEALTH_PORT),
        "FELIX_DEFAULTENDPOINTTOHOSTACTION": "ACCEPT",
        "FELIX_TYPHAK8SSERVICENAME": "none",
        "FELIX_USAGEREPORTINGENABLED": "false",
        "FELIX_ENDPOINTSTATUSPATHPREFIX": endpoint_status(node),
        "FELIX_LOGSEVERITYSCREEN": "Info",
        "FELIX_LOGFILEPATH": "none",
        "FELIX_LOGSEVERITYFILE": "none",
        "FELIX_LOGSEVERITYSYS": "none",
    }


def felix_argv(node: Node) -> list[str]:
    return [*in_network(node), "calico-felix", "-c", f"{node.folder}/felix.cfg"]


def cni_conflist(layout: Layout, node: Node) -> str:
    return _json(
        {
            "name": "pods",
            "cniVersion": "0.3.1",
            "plugins": [
                {
                    "type": "calico",
                    "log_level": "info",
                    "log_file_path": f"{layout.logs}/cni-{node.name}.log",
                    "datastore_type": "kubernetes",
                    "nodename": node.name,
                    "nodename_file_optional": True,
                    "mtu": 1500,
                    "ipam": {"type": "host-local", "subnet": str(node.pods), "dataDir": f"{node.run}/addresses"},
                    "policy": {"type": "k8s"},
                    # A pod starts only when Felix has put its policy in force, so none is open at first.
                    "policy_setup_timeout_seconds": 10,
                    "endpoint_status_dir": f"{endpoint_status(node)}/endpoint-status",
                    "kubernetes": {"kubeconfig": str(pki.kubeconfig(layout, pki.CALICO))},
                },
                {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
            ],
        }
    )


def endpoint_status(node: Node) -> str:
    return f"{node.run}/endpoints"


def in_network(node: Node) -> list[str]:
    """Not `ip netns exec`: that remounts /sys and hides the cgroups."""
    return ["nsenter", f"--net={node.network_namespace}", "--"]


def _json(content: dict[str, Any]) -> str:
    """JSON is YAML, and needs no library."""
    return json.dumps(content, indent=1) + "\n"
