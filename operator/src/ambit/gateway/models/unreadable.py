"""What reading a provider's JSON may raise."""

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)
"""Of bytes that are no JSON, or another than was expected; and of strings that are not UTF-8, which msgspec leaves to
Python's own error."""
