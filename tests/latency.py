"""How long something takes at most, measured on a machine that may be busy with something else."""

from collections.abc import Awaitable, Callable

ATTEMPTS = 8


async def within_ms(limit_ms: float, attempt: Callable[[], Awaitable[float]]) -> None:
    """Fails unless one of a few attempts (each gives how many ms it took) was at most so long.

    Load makes any one of them late; a way that is too slow is late each time.
    """
    took_ms: list[float] = []
    for _ in range(ATTEMPTS):
        took_ms.append(await attempt())
        if took_ms[-1] < limit_ms:
            return
    raise AssertionError(f"never under {limit_ms:g} ms: {took_ms}")
