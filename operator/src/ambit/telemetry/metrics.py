"""Every metric of Ambit, defined and documented once. Names begin with `ambit_`; units stand in the names.

Where the field has a standard name (controller-runtime's `…_reconcile_total`, `workqueue_depth`), ours is the same
behind the prefix.
"""

from prometheus_client import Counter, Gauge

# -- process ------------------------------------------------------------
BUILD_INFO = Gauge("ambit_build_info", "Always 1; the version stands in the label.", ["version", "component"])

# -- the apiserver ------------------------------------------------------
KUBE_REQUESTS = Counter(
    "ambit_kube_requests_total",
    "Requests to the apiserver, by method, resource and status (`none`: no answer).",
    ["method", "resource", "code"],
)
KUBE_RELISTS = Counter(
    "ambit_kube_relists_total", "Caches listed anew because their watch was too old (410).", ["resource"]
)
KUBE_UNDECODABLE = Counter(
    "ambit_kube_undecodable_total", "Objects kept out of a cache because they could not be read.", ["resource"]
)
