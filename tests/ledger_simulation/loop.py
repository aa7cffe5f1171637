"""An asyncio event loop of virtual time, on which processes can be killed and stopped between any two awaits.

Nothing waits: when nothing is ready, the clock goes to the next timer. Which of the ready callbacks runs next is up to
the seed. Each callback belongs to the process in whose context it was scheduled; those of a dead process never run, so
a kill is what SIGKILL is: no `finally`, no cancellation, between two awaits.
"""

import asyncio
import heapq
import inspect
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class StalledError(Exception):
    """Nothing is ready and no timer is set, but what was waited for has not come: a deadlock."""


class Process:
    """Whatever is killed, stopped and continued as one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.steps = 0
        """How many callbacks it has run: each ends at an await."""
        self.kill_at_step: int | None = None
        self.killed: Callable[[], None] | None = None
        """Told when `kill_at_step` has come."""
        self.waiting: list[Handle] = []
        """What would have run while it was stopped."""
        self.owner: object = None
        """What the process is a process of."""


class Handle(msgspec.Struct, eq=False):
    """A callback to come. What asyncio asks of a handle is that it can be cancelled. A Struct: ten are made a call."""

    callback: Callable[..., object] | None
    args: tuple[Any, ...]
    context: Context

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
"""None for what belongs to no process: the network, the world's own events. That is never killed."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs callbacks one at a time, in an order that the seed decides.

    `disorder` is how often the next callback is not the one that was scheduled first.
    """

    def __init__(self, random: Random, disorder: float = 0.0) -> None:
        self._random = random.random
        self._disorder = disorder
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._timers_made = 0
        self._now_s = 0.0
        self._outside = Context()
        self._tasks: list[asyncio.Task[Any]] = []
        """Kept until the end, so that no destructor of a dead process's coroutines runs anything."""
        self.steps = 0
        self.errors: list[BaseException] = []
        """What nobody caught. A test looks at them at the end."""

    # -- what asyncio asks of a loop

    def time(self) -> float:
        return self._now_s

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # What became of a future is nobody's concern where the process is dead that would have looked.
        if isinstance(error, BaseException) and not isinstance(context.get("future"), asyncio.Future):
            self.errors.append(error)

    get_debug = staticmethod(bool)  # pyright: ignore[reportAssignmentType] -- False; asked for each future: worth no frame

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    # -- what the simulation asks of it

    def spawn(self, process: Process, coro: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Starts a task of a process, whoever calls."""
        context = Context()
        context.run(CURRENT.set, process)
        return self.create_task(coro, name=name, context=context)

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> Handle:
        """Calls back in the world outside, whichever process asks for it and whatever becomes of that."""
        return self.call_at(self._now_s + delay_s, callback, *args, context=self._outside)

    def spawn_outside(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts a task that belongs to no process."""
        return self.create_task(coro, context=Context())

    def leap(self, by_s: float) -> None:
        """Lets time pass all at once: what would have run meanwhile is late, as on a machine that slept."""
        self._now_s += by_s

    def end(self) -> None:
        """Drops whatever was to come, and every coroutine that is not over."""
        for task in self._tasks:
            if not task.done():
                _close(task)
            elif task._log_traceback and not task.cancelled():  # pyright: ignore[reportAttributeAccessIssue] -- asyncio's
                self.call_exception_handler({"exception": task.exception()})
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()

    def resume(self, process: Process) -> None:
        """Lets a stopped process go on."""
        process.stopped = False
        self._ready.extend(process.waiting)
        process.waiting.clear()

    def run(self, until: asyncio.Future[T], limit_steps: int) -> T:
        """Runs until `until` is done. Raises StalledError where it cannot come, or not within so many steps."""
        outer = events._get_running_loop()  # pyright: ignore[reportPrivateUsage] -- the hook for loops
        events._set_running_loop(self)  # pyright: ignore[reportPrivateUsage]
        try:
            self._run(until, self.steps + limit_steps)
        finally:
            events._set_running_loop(outer)  # pyright: ignore[reportPrivateUsage]
        return until.result()

    def _run(self, until: asyncio.Future[Any], last_step: int) -> None:
        ready, timers, random, disorder = self._ready, self._timers, self._random, self._disorder
        while not until.done():
            while timers and (timers[0][0] <= self._now_s or not ready):
                when, _, handle = heapq.heappop(timers)
                if handle.callback is not None:
                    self._now_s = max(self._now_s, when)
                    ready.append(handle)
            if not ready:
                raise StalledError("nothing is ready and no timer is set")
            if disorder and len(ready) > 1 and random() < disorder:
                at = int(random() * len(ready))
                handle = ready[at]
                del ready[at]
            else:
                handle = ready.popleft()
            callback = handle.callback
            if callback is None:
                continue
            self.steps += 1
            if self.steps > last_step:
                raise StalledError(f"no end after {self.steps} steps")
            context = handle.context
            process = context.get(CURRENT)
            if process is None:
                context.run(callback, *handle.args)
                continue
            if not process.alive:
                continue
            if process.stopped:
                process.waiting.append(handle)
                continue
            context.run(callback, *handle.args)
            process.steps += 1
            if process.steps == process.kill_at_step and process.killed is not None:
                process.killed()


def _close(task: asyncio.Task[Any]) -> None:
    """Ends a task's coroutine without running it further than its `finally`s insist on."""
    coroutine: Any = task.get_coro()
    task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue] -- it is meant
    while inspect.getcoroutinestate(coroutine) != inspect.CORO_CLOSED:
        # A `finally` that awaits once more makes an error of it, and the coroutine wait again.
        with suppress(RuntimeError):
            coroutine.close()
