"""Container sessions whose caller was connected to a gateway that is gone: nobody reads them, so they are ended.

A Sandbox says which gateway's pod opened it. A gateway that restarted finds those of the process before it, and each
gateway those of pods that are no more. Until then the operator holds them to their bounds like any other.
"""

from collections.abc import Collection, Iterable

from ambit.gateway.sessions.sandboxes import SandboxView


def orphans(
    sandboxes: Iterable[SandboxView], *, pod: str, running: Collection[str], gateways: Collection[str]
) -> list[SandboxView]:
    """Those that nobody waits for: opened by this `pod` and not among the sessions that it is `running`
    (`<namespace>/<id>`), or by a gateway pod that is not among `gateways`.
    """
    return [
        sandbox
        for sandbox in sandboxes
        if not sandbox.finished
        and sandbox.opened_by is not None
        and _abandoned(sandbox, sandbox.opened_by, pod, running, gateways)
    ]


def _abandoned(
    sandbox: SandboxView, opened_by: str, pod: str, running: Collection[str], gateways: Collection[str]
) -> bool:
    if opened_by != pod:
        return opened_by not in gateways
    return f"{sandbox.metadata.namespace}/{sandbox.metadata.name}" not in running
