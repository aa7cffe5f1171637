"""Container sessions whose caller was connected to a gateway that is gone: nobody reads them, so they are ended.

A Sandbox says which incarnation of which gateway opened it. A gateway that restarted finds its predecessor's, and each
gateway those of pods that are no more. Until then the operator holds them to their bounds like any other.
"""

from collections.abc import Collection, Iterable

from ambit.gateway.sessions.sandboxes import SandboxView


def orphans(
    sandboxes: Iterable[SandboxView], *, pod: str, incarnation: str, running: Collection[str], gateways: Collection[str]
) -> list[SandboxView]:
    """Those that nobody waits for: opened by an earlier incarnation of this `pod`, by a gateway pod that is not among
    `gateways`, or by ourselves without being among the sessions that we are `running` (`<namespace>/<id>`)."""
    return [
        sandbox
        for sandbox in sandboxes
        if not sandbox.finished
        and sandbox.opened_by is not None
        and _abandoned(sandbox, sandbox.opened_by, pod, incarnation, running, gateways)
    ]


def _abandoned(
    sandbox: SandboxView,
    opened_by: str,
    pod: str,
    incarnation: str,
    running: Collection[str],
    gateways: Collection[str],
) -> bool:
    opener, _, its_incarnation = opened_by.partition("/")
    if opener != pod:
        return opener not in gateways
    if its_incarnation != incarnation:
        return True
    return f"{sandbox.metadata.namespace}/{sandbox.metadata.name}" not in running
