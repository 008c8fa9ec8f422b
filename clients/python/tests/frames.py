"""Frames as a server writes and reads them."""

import uuid

from rollcall import wire
from rollcall.wire import Message


def frame(type, body=b"", **header):
    return wire.encode_frame(Message(type, body, **header))


def accepted(fields=None, user=""):
    return frame(wire.LOGON, b"\0\0" + wire.encode_map(fields or {}), id=1, to=user, flags=wire.REPLY)


def refused(code, text="", info=None):
    return frame(wire.LOGON, wire.encode_close(code, text, info), id=1, flags=wire.REPLY | wire.ERROR)


def close(code, text="", info=None):
    return frame(wire.CLOSE, wire.encode_close(code, text, info))


def push_id(number):
    return uuid.UUID(int=(7 << 76) | number)


def push(number, content=b"", confirm=True, kind=2, name=""):
    body = push_id(number).bytes + bytes((kind, confirm)) + bytes(8) + bytes((len(name),)) + name.encode() + b"\0" + content
    return frame(wire.PUSH, body)


def answer(m, body=b"", sender=""):
    """Return the reply to a request."""
    return frame(m.type, body, id=m.id, sender=sender, flags=wire.REPLY)


def refusal(m, code, text="", sender=""):
    return frame(m.type, wire.encode_close(code, text), id=m.id, sender=sender, flags=wire.REPLY | wire.ERROR)


def messages(data):
    """Return the messages in some bytes, all of which have to be whole."""
    found, at = [], 0
    while at < len(data):
        m, at = wire.decode_frame(data, at, 0)
        assert m is not None, "the bytes end within a frame"
        found.append(m)
    return found
