"""What can be wrong with a request, raised where it is known and answered in one place."""

from typing import ClassVar

from terrapod_common.agent_protocol import Code


class Refused(Exception):
    """Base of every error that a client is told about: a status, a title and a sentence.

    Agents are told its code too: that of its status, or one that says more.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "internal server error"

    def __init__(self, detail: str = "", *, pointer: str = "", code: Code | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer
        self.code = code


class BadRequest(Refused):
    """The request could not be read at all."""

    status = 400
    title = "bad request"


class Unauthorized(Refused):
    """No credentials, or ones that are not valid."""

    status = 401
    title = "unauthorized"


class Forbidden(Refused):
    """The caller may know of the object but may not do this to it."""

    status = 403
    title = "forbidden"


class NotFound(Refused):
    """There is no such object, or the caller may not know of it."""

    status = 404
    title = "not found"


class Conflict(Refused):
    """The object is in a state that does not allow this: locked, a duplicate, a stale fence."""

    status = 409
    title = "conflict"


class TooLarge(Refused):
    """A body is larger than the setting allows."""

    status = 413
    title = "payload too large"


class Unprocessable(Refused):
    """The request was understood and makes no sense."""

    status = 422
    title = "invalid attribute"


class Unavailable(Refused):
    """Something that is needed does not answer; the same request may work later."""

    status = 503
    title = "service unavailable"
