"""JSON of strangers: whatever is wrong with it is one exception."""

from typing import Any

import msgspec


class Malformed(ValueError):
    """It is not JSON in UTF-8, or nested too deeply; the message says which."""


def read_json(raw: bytes, into: Any) -> Any:
    """Decode, or raise :class:`Malformed`; what has the wrong shape is a ValidationError."""
    try:
        return msgspec.json.decode(raw, type=into)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error
    except RecursionError as error:
        raise Malformed("it is nested too deeply") from error
