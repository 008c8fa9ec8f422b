"""A client of Rollcall: it logs on, sends and receives messages, and comes back when the connection is lost.

``rollcall.connect`` is that of ``rollcall.aio``, for asyncio. ``rollcall.sync`` has the same without await. ``rollcall.core`` is the protocol without
input and output.
"""

from .aio import Client, connect
from .errors import (ClientClosed, CloseError, Code, Disconnected, NotConnected, ReplyError, RequestTimeout, RollcallError, TooLarge, code_name,
                     may_reconnect)
from .inbox import State, StateChange
from .wire import Message, Push

__version__ = "0.1.0"

__all__ = [
    "Client", "ClientClosed", "CloseError", "Code", "Disconnected", "Message", "NotConnected", "Push", "ReplyError", "RequestTimeout",
    "RollcallError", "State", "StateChange", "TooLarge", "code_name", "connect", "may_reconnect",
]
