"""Close codes, and the errors that the client raises."""

from __future__ import annotations

import enum
from typing import Dict, Mapping, Optional


class Code(enum.IntEnum):
    """The codes of a Close, of a refused logon and of an error reply.

    A server may send codes that are not listed here: those of the application (3000 to 4999), of optional packages, and of later
    versions. Attributes named ``code`` are therefore plain integers, which compare equal to these.
    """

    CLIENT_CLOSED = 1000
    NETWORK_ERROR = 1001
    HEARTBEAT_TIMEOUT = 1002
    SLOW_CONSUMER = 1003
    SERVER_STOPPING = 1004
    LOGON_TIMEOUT = 1005
    TOO_MANY_CONNECTIONS = 1006
    RATE_LIMITED = 1007
    INTERNAL_ERROR = 1008
    NODE_LOST = 1009
    TOKEN_EXPIRED = 1010
    PUSHED_OUT = 2000
    ALREADY_LOGGED_ON = 2001
    KICKED_OUT = 2002
    UNAUTHORIZED = 2003
    INVALID_MESSAGE = 2004
    WRONG_USER_ID = 2005
    MESSAGE_TOO_LARGE = 2006
    DEVICE_NOT_ALLOWED = 2007
    SESSION_EXPIRED = 2008
    USER_OFFLINE = 5000
    NO_HANDLER = 5001
    HANDLER_FAILED = 5002
    REFUSED = 5003
    TIMED_OUT = 5004


_NAMES: Dict[int, str] = {code.value: code.name.title().replace("_", "").replace("UserId", "UserID") for code in Code}


def code_name(code: int) -> str:
    """Return the name that the protocol gives a code, such as ``KickedOut``, or ``code 4711`` for one without a name."""
    return _NAMES.get(code, f"code {code}")


def may_reconnect(code: int) -> bool:
    """Say whether a client whose connection ended with this code may connect again, with backoff: 1xxx and 3xxx."""
    return code // 1000 in (1, 3)


class RollcallError(Exception):
    """The base of this package's errors.

    ``code`` is the code that belongs to the error, 0 if there is none. ``may_reconnect`` says whether another attempt to connect makes sense.
    No text of an error has the token or the session's ID in it.
    """

    code: int = 0
    may_reconnect: bool = False


class _CodedError(RollcallError):
    def __init__(self, code: int, text: str = "", info: Optional[Mapping[str, str]] = None) -> None:
        super().__init__(code, text)
        self.code = int(code)
        self.text = text
        self.info: Dict[str, str] = dict(info or {})

    def __str__(self) -> str:
        return f"{code_name(self.code)}: {self.text}" if self.text else code_name(self.code)


class CloseError(_CodedError):
    """Why a connection ended, could not be made, or why a logon was refused.

    ``text`` is for people. ``info`` has what the server said besides, such as ``retry-ms`` and ``address``. The code is
    ``Code.NETWORK_ERROR`` where the connection ended without a Close, or could not be made; ``__cause__`` may then say more.
    """

    @property
    def may_reconnect(self) -> bool:  # type: ignore[override]
        """Whether another attempt to connect makes sense: after 1xxx and 3xxx."""
        return may_reconnect(self.code)


class ReplyError(_CodedError):
    """The error reply to a request: a code of 5xxx or of the application, a text, and ``info``. The connection stays open."""


class RequestTimeout(RollcallError, TimeoutError):
    """No reply came within the request's time limit. Whether the request was handled is unknown."""

    may_reconnect = True


class NotConnected(RollcallError, ConnectionError):
    """There is no connection at the moment. The message was not sent, and is not kept for later."""

    code = Code.NETWORK_ERROR
    may_reconnect = True


class Disconnected(RollcallError, ConnectionError):
    """The connection was lost before the reply came. Whether the request was handled is unknown. ``reason`` says why."""

    def __init__(self, reason: CloseError) -> None:
        super().__init__(f"the connection was lost before the reply came ({reason})")
        self.reason = reason
        self.code = reason.code
        self.may_reconnect = reason.may_reconnect


class ClientClosed(RollcallError):
    """The client has ended for good. ``reason`` says why: its code is ``Code.CLIENT_CLOSED`` after ``close()``."""

    def __init__(self, reason: CloseError) -> None:
        super().__init__(f"the client is closed ({reason})")
        self.reason = reason
        self.code = reason.code


class TooLarge(RollcallError, ValueError):
    """The body is larger than the server or the setting ``max_body`` allows. Nothing was sent."""

    code = Code.MESSAGE_TOO_LARGE
