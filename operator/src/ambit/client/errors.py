"""What can go wrong for a client. Each message is one or two sentences that say what to do."""


class ClientError(Exception):
    """The gateway cannot be reached, or does not behave."""


class GatewayRefused(ClientError):
    """The gateway refuses what was asked for."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: int | None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.reason = reason
        """One CamelCase word, e.g. `LimitExceeded`."""
        self.retry_after_s = retry_after_s
        """When trying again makes sense; None: it does not."""
