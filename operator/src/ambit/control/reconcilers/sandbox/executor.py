"""One method an action: apiserver and ledger, and what their answers teach the memory.

Every action may be repeated after a kill at any instruction: names follow from the Sandbox's UID, holds have ids of
their own, and an object that is already there is ours if it is owned by us.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ambit.api import names
from ambit.api.sandbox import Sandbox
from ambit.control.objects import Named, Pod
from ambit.control.obstacles import Obstacle
from ambit.control.reconcilers.sandbox import manifests, runtime
from ambit.control.reconcilers.sandbox.memory import UNKNOWN_SESSION, Memory, session_of
from ambit.control.reconcilers.sandbox.plan import (
    Action,
    AddFinalizer,
    CloseSession,
    CreatePod,
    CreatePolicy,
    CreateToken,
    DeleteSandbox,
    ExtendRuntime,
    HoldRuntime,
    LookAtPod,
    LookUpSession,
    OpenSession,
    RemoveFinalizer,
    SettleRuntime,
    StopPod,
)
from ambit.control.reconcilers.sandbox.runtime import Hold
from ambit.control.world import Kind, World
from ambit.control.writer import Writer
from ambit.kube import AlreadyExists, Conflict, Forbidden, Invalid, KubeClient, NotFound, resources
from ambit.ledger import wire
from ambit.ledger.amounts import Amount
from ambit.ledger.client import AccountUnknown, HoldIdReused, HoldUnknown, LedgerClient, LedgerUnavailable
from ambit.policy.runtime_slices import hold_id
from ambit.telemetry.reasons import Progress

Json = dict[str, Any]
JWT_ALGORITHM: Final = "EdDSA"


def clock_ms() -> int:
    """Now, in milliseconds since the epoch."""
    return int(time() * 1000)


class Executor:
    def __init__(
        self,
        world: World,
        client: KubeClient,
        ledger: LedgerClient,
        writer: Writer,
        signer: Callable[[], Ed25519PrivateKey],
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._world = world
        self._client = client
        self._ledger = ledger
        self._writer = writer
        self._signer = signer
        self._kind: Kind = next(kind for kind in world.kinds if kind.store is world.sandboxes)
        self._now_ms = now_ms

    async def carry_out(self, action: Action, sandbox: Sandbox, memory: Memory) -> Obstacle | None:
        """Does it; the answer says what refused. Raises ApiError, LedgerUnavailable, LedgerError for all else."""
        match action:
            case AddFinalizer():
                wanted = (*sandbox.metadata.finalizers, names.SESSION_FINALIZER)
                return await self._writer.finalizers(self._kind, sandbox, wanted)
            case RemoveFinalizer():
                kept = tuple(name for name in sandbox.metadata.finalizers if name != names.SESSION_FINALIZER)
                return await self._writer.finalizers(self._kind, sandbox, kept)
            case LookAtPod():
                return await self._look_at_pod(action.name, sandbox, memory)
            case LookUpSession():
                return await self._look_up(action.path, sandbox, memory)
            case OpenSession():
                return await self._open(action.operation, memory)
            case HoldRuntime():
                return await self._hold(action, memory)
            case ExtendRuntime():
                return await self._extend(action, memory)
            case SettleRuntime():
                return await self._settle(action, memory)
            case CloseSession():
                return await self._close(action, memory)
            case CreatePolicy():
                return await self._create_policy(action.manifest, sandbox, memory)
            case CreatePod():
                return await self._create_pod(action.manifest, sandbox, memory)
            case CreateToken():
                return await self._create_token(action, sandbox, memory)
            case StopPod():
                return await self._stop(action, sandbox, memory)
            case DeleteSandbox():
                return await self._delete_sandbox(sandbox)

    # -- the ledger ------------------------------------------------------------
    async def _look_up(self, path: str, sandbox: Sandbox, memory: Memory) -> None:
        first_hold = hold_id(sandbox.metadata.namespace, manifests.session_id(sandbox))
        try:
            usage = await self._ledger.usage(wire.GetUsage(path))
        except AccountUnknown:
            memory.session = UNKNOWN_SESSION
            return
        memory.session = session_of(usage, first_hold, self._now_ms())

    async def _open(self, operation: wire.Open, memory: Memory) -> Obstacle | None:
        try:
            answer = await self._ledger.open(operation)
        except AccountUnknown:
            message = f"the ledger does not hold {operation.parent} yet"
            return Obstacle(Progress.ACCOUNT_PENDING, message)
        memory.session = None  # asked anew: it may have been opened, or ended, before
        if isinstance(answer, wire.Wait):
            return Obstacle(Progress.WAITING_FOR_ROOM, answer.message)
        if isinstance(answer, wire.Refused) and answer.ended is None:
            return Obstacle(Progress.ACCOUNT_PENDING, answer.message)
        return None

    async def _hold(self, action: HoldRuntime, memory: Memory) -> Obstacle | None:
        operation = action.operation
        try:
            answer = await self._ledger.reserve(operation)
        except HoldIdReused:
            memory.session = None  # an earlier hold of this id was settled: ask what is spent by now
            return None
        if isinstance(answer, wire.Granted):
            memory.held(
                Hold(
                    id=operation.id,
                    granted_ms=answer.amount.runtime_ms,
                    sequence=0,
                    expires_at_ms=self._now_ms() + operation.expires_in_ms,
                    charged_ms=action.charged_ms,
                )
            )
            return None
        return _denied(answer, memory)

    async def _extend(self, action: ExtendRuntime, memory: Memory) -> Obstacle | None:
        extension = action.extension
        operation = wire.Extend(
            id=extension.hold_id,
            sequence=extension.sequence,
            expires_in_ms=extension.expires_in_ms,
            want=Amount(runtime_ms=extension.want_ms),
            at_least=Amount(runtime_ms=extension.at_least_ms),
        )
        try:
            async with asyncio.timeout(extension.deadline_ms / 1000):
                answer = await self._ledger.extend(operation)
        except TimeoutError as late:
            raise LedgerUnavailable("the ledger has not answered in time for the next slice of runtime") from late
        except HoldUnknown:
            memory.session = None
            return None
        if isinstance(answer, wire.Granted):
            expires_at_ms = self._now_ms() + extension.expires_in_ms
            memory.granted(extension.hold_id, extension.sequence, answer.amount.runtime_ms, expires_at_ms)
            return None
        return _denied(answer, memory)

    async def _settle(self, action: SettleRuntime, memory: Memory) -> None:
        with suppress(HoldUnknown):  # expired long ago, and charged
            await self._ledger.settle(wire.Settle(action.hold_id, Amount(runtime_ms=action.used_ms)))
        memory.session = None

    async def _close(self, action: CloseSession, memory: Memory) -> None:
        await self._ledger.close(wire.Close(action.path, action.ending.reason, action.ending.message[:4096]))
        memory.session = None

    # -- the apiserver -----------------------------------------------------------
    async def _create_policy(self, manifest: Json, sandbox: Sandbox, memory: Memory) -> Obstacle | None:
        refused = await self._create(resources.NETWORK_POLICIES, manifest, sandbox)
        if isinstance(refused, Obstacle):
            return refused
        memory.policy_made = True
        return None

    async def _create_pod(self, manifest: Json, sandbox: Sandbox, memory: Memory) -> Obstacle | None:
        made = await self._create(resources.PODS, manifest, sandbox)
        if isinstance(made, Obstacle):
            return made
        memory.saw(msgspec.convert(made, Pod), self._now_ms())
        return None

    async def _look_at_pod(self, name: str, sandbox: Sandbox, memory: Memory) -> None:
        """One of that name that is not this Sandbox's is none of it."""
        try:
            there = msgspec.convert(await self._client.get(resources.PODS, name, sandbox.metadata.namespace), Pod)
        except NotFound:
            there = None
        owned = there is not None and there.metadata.owned_by(sandbox.metadata.uid)
        memory.saw(there if owned else None, self._now_ms())

    async def _create(self, resource: resources.Resource, manifest: Json, sandbox: Sandbox) -> Json | Obstacle:
        """The object, made or already ours; or why it cannot be, in the apiserver's own words."""
        namespace, name = sandbox.metadata.namespace, manifest["metadata"]["name"]
        try:
            return await self._client.create(resource, manifest, namespace)
        except AlreadyExists:
            there = await self._client.get(resource, name, namespace)
            if msgspec.convert(there, Named).metadata.owned_by(sandbox.metadata.uid):
                return there
            message = f"{resource.kind} {name} is there and does not belong to this Sandbox; delete it"
            return Obstacle(Progress.NAME_TAKEN, message)
        except Forbidden as refused:
            return Obstacle(Progress.REFUSED, refused.message)
        except Invalid as refused:
            return Obstacle(Progress.REFUSED, refused.message, final=True)

    async def _create_token(self, action: CreateToken, sandbox: Sandbox, memory: Memory) -> Obstacle | None:
        """The Secret cannot be read here, and need not be: its name is this one session's, and it never changes."""
        session = manifests.session_id(sandbox)
        claims = manifests.token_claims(sandbox, session, action.pod_uid, action.runtime_bound_ms, self._now_ms())
        token = jwt.encode(claims, self._signer(), algorithm=JWT_ALGORITHM)
        secret = manifests.token_secret(sandbox, session, action.pod_uid, token)
        try:
            with suppress(AlreadyExists):
                await self._client.create(resources.SECRETS, secret, sandbox.metadata.namespace)
        except Forbidden as refused:
            return Obstacle(Progress.REFUSED, refused.message)
        memory.token_made = True
        return None

    async def _stop(self, action: StopPod, sandbox: Sandbox, memory: Memory) -> None:
        memory.stopped_for = memory.stopped_for or action.ending
        with suppress(NotFound, Conflict):  # it is gone, and the watch says so
            await self._client.delete(
                resources.PODS,
                action.name,
                sandbox.metadata.namespace,
                uid=action.uid,
                grace_period_s=runtime.STOP_GRACE_S,
            )

    async def _delete_sandbox(self, sandbox: Sandbox) -> None:
        with suppress(NotFound, Conflict):
            await self._client.delete(
                resources.SANDBOXES, sandbox.metadata.name, sandbox.metadata.namespace, uid=sandbox.metadata.uid
            )


def _denied(answer: wire.Refused | wire.Wait, memory: Memory) -> Obstacle | None:
    """No more runtime, now or ever. Where it is the session or the hold that has ended, the ledger is asked anew."""
    if answer.reason is not wire.RefusalReason.LIMIT_EXCEEDED:
        memory.session = None
        return None
    memory.denial = answer.message
    final = isinstance(answer, wire.Refused)
    return Obstacle(Progress.LIMIT_EXHAUSTED if final else Progress.WAITING_FOR_ROOM, answer.message, final=final)
