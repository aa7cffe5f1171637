"""How a process reads its environment: each variable by name, and what to write where one is missing or wrong."""

from collections.abc import Mapping


class SettingsError(Exception):
    """An environment variable is missing or makes no sense; the message says what to write."""


def required(environ: Mapping[str, str], name: str, example: str) -> str:
    """The variable's value. Raises SettingsError where it is missing or empty."""
    value = environ.get(name)
    if not value:
        raise SettingsError(f"{name} is not set; write for example {name}={example}")
    return value


def positive_number(environ: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of at least 1, in the unit that the variable's name ends with. Raises SettingsError."""
    written = environ.get(name, str(default))
    if not written.isdecimal() or int(written) == 0:
        raise SettingsError(f"{name}={written!r} is no positive whole number; write for example {name}={default}")
    return int(written)


def on_or_off(environ: Mapping[str, str], name: str, default: str) -> bool:
    """Whether the variable says On. Raises SettingsError where it says neither On nor Off."""
    written = environ.get(name, default)
    if written not in ("On", "Off"):
        raise SettingsError(f"{name}={written!r} is neither On nor Off; write for example {name}={default}")
    return written == "On"
