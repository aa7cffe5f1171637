"""What keeps a Pod's container from starting, in the words of the apiserver, the scheduler or the node. Pure."""

from dataclasses import dataclass
from typing import Final

from ambit.control.objects import Pod
from ambit.telemetry.reasons import Progress

_IMAGE_REASONS: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_IMAGE_NEVER: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_PREPARING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class Obstacle:
    """Something outside that refuses, is away, or has not come about; the message is its own, word for word."""

    reason: Progress
    message: str
    final: bool = False
    """It cannot come right by waiting."""


def obstacle_of(pod: Pod, container: str, image: str) -> Obstacle | None:
    """What the Pod waits for; None where it is merely being prepared, or runs."""
    waiting = pod.container(container).waiting
    if waiting is not None and waiting.reason in _IMAGE_REASONS:
        message = f"image {image}: {waiting.message or waiting.reason}"
        return Obstacle(Progress.IMAGE_PULL_FAILED, message, final=waiting.reason in _IMAGE_NEVER)
    if waiting is not None and waiting.reason not in _PREPARING:
        return Obstacle(Progress.CONTAINER_FAILED, f"{waiting.reason}: {waiting.message}".rstrip(": "))
    scheduled = pod.status.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return Obstacle(Progress.SCHEDULING, scheduled.message or scheduled.reason)
    return None
