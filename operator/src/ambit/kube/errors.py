"""What the apiserver refuses, as types. The message is always the apiserver's own, word for word."""

import msgspec


class ApiError(Exception):
    """The apiserver refused a request, for none of the reasons that have a type of their own below."""

    def __init__(self, status: int, reason: str, message: str, request: str) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status; 0 where there was no answer."""
        self.reason = reason
        """The apiserver's word for it, e.g. `NotFound`; may be empty."""
        self.message = message
        self.request = request
        """Method and path of what was asked, for logs."""

    def __str__(self) -> str:
        return self.message


class NotFound(ApiError):
    """404."""


class AlreadyExists(ApiError):
    """409 on creation: the name is taken."""


class Conflict(ApiError):
    """409: the object, or a precondition, is no longer what the caller saw."""


class Gone(ApiError):
    """410: the resource version, or the continuation of a list, is too old."""


class Unauthorized(ApiError):
    """401."""


class Forbidden(ApiError):
    """403: by RBAC, quota, Pod Security or another admission."""


class Invalid(ApiError):
    """422: the object breaks its schema or a validation rule."""


class TooManyRequests(ApiError):
    """429, and it still was after the retries."""


class Unreachable(ApiError):
    """No answer: connecting, TLS, or the transfer failed. Whether the request was carried out is not known."""


class _Status(msgspec.Struct):
    reason: str = ""
    message: str = ""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def from_answer(status: int, body: bytes, request: str) -> ApiError:
    """The error in an answer's body: a `Status` object, or plain text where something else answered."""
    try:
        said = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        said = _Status(message=body.decode("utf-8", "replace").strip())
    error = _BY_STATUS.get(status, ApiError)
    if error is Conflict and said.reason == "AlreadyExists":
        error = AlreadyExists
    return error(status, said.reason, said.message or f"the apiserver answered {status} without a message", request)
