"""Every metric of Ambit, defined and documented once. Names begin with `ambit_`; units stand in the names.

Where the field has a standard name (controller-runtime's `…_reconcile_total`, `workqueue_depth`), ours is the same
behind the prefix.
"""

from prometheus_client import Gauge

# -- process ------------------------------------------------------------
BUILD_INFO = Gauge("ambit_build_info", "Always 1; the version stands in the label.", ["version", "component"])
