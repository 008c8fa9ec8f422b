"""The wire format: frames and the bodies of the system's messages. Pure functions, without input or output.

A fault in what came raises a CloseError with ``Code.INVALID_MESSAGE`` or ``Code.MESSAGE_TOO_LARGE``; an argument that may not be sent raises
a ValueError. docs/protocol.md describes the bytes.
"""

from __future__ import annotations

import re
import struct
import uuid
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Tuple, Union

from .errors import CloseError, Code

HEADER_LEN = 16
DEFAULT_MAX_BODY = 1 << 20
#: By how much the body of a Close, of the answer to a Logon and of an error reply may be larger than the limit.
SYSTEM_EXTRA = 64 << 10
FIRST_SYSTEM_TYPE = 0xFF00
SERVER_ID = "_0"
MAX_ID_LIST = 1000

HEARTBEAT, LOGON, CLOSE, PUSH, PUSH_ACK, WHO_IS_ONLINE, RENEW = 0xFF00, 0xFF01, 0xFF02, 0xFF03, 0xFF04, 0xFF05, 0xFF0A
#: The system's types that belong to optional packages of the server: presence, contacts, groups and chat.
OPTIONAL_TYPES = range(0xFF06, 0xFF0A)

REPLY, ERROR = 1, 2
_HEADER = struct.Struct(">BBHIIBBH")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_UNLIMITED = 1 << 62

Buffer = Union[bytes, bytearray, memoryview]


class Message:
    """A message, as it came or is to be sent.

    ``type`` is the message type and ``body`` its content. ``sender`` is the user who sent it, ``""`` for the server itself. ``id`` is not
    0 where the sender waits for a reply; ``device`` is the device class that the sender wrote. ``to`` and ``flags`` matter to the codec only.
    """

    __slots__ = ("type", "body", "sender", "to", "id", "device", "flags")

    def __init__(self, type: int, body: bytes = b"", *, sender: str = "", to: str = "", id: int = 0, device: int = 0,
                 flags: int = 0) -> None:
        self.type = type
        self.body = body
        self.sender = sender
        self.to = to
        self.id = id
        self.device = device
        self.flags = flags

    @property
    def wants_reply(self) -> bool:
        """Whether the sender waits for a reply."""
        return self.id != 0 and not self.flags & REPLY

    def __repr__(self) -> str:
        kind = "reply " if self.flags & REPLY else "request " if self.id else ""
        sender = repr(self.sender) if self.sender else "the server"
        return f"<Message {kind}type={self.type} from {sender}, {len(self.body)} bytes>"


def invalid(text: str) -> CloseError:
    """Return the error for what breaks the protocol."""
    return CloseError(Code.INVALID_MESSAGE, text)


def _utf8(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"{what} is no string")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        pass  # its own error would carry the text, which may be a secret
    raise ValueError(f"{what} has half of a surrogate pair, which is no valid text")


def encode_user_id(user: str, what: str = "the user ID") -> bytes:
    """Return the bytes of a user ID, or raise a ValueError: 1 to 255 bytes of UTF-8 without control characters."""
    encoded = _utf8(user, what)
    if not 1 <= len(encoded) <= 255:
        raise ValueError(f"{what} has {len(encoded)} bytes; 1 to 255 are allowed")
    if _CONTROL.search(user):
        raise ValueError(f"{what} has a control character")
    return encoded


def encode_frame(m: Message) -> bytes:
    """Return the frame of a message. An empty ``sender`` or ``to`` is left out."""
    sender = encode_user_id(m.sender) if m.sender else b""
    to = encode_user_id(m.to, "the destination") if m.to else b""
    length = len(sender) + len(to) + len(m.body)
    if not 1 <= m.type <= 0xFFFF or not 0 <= m.id <= 0xFFFFFFFF or not 0 <= m.device <= 0xFFFF or m.flags not in (0, 1, 3):
        raise ValueError("the message's type, ID, device class or flags are out of range")
    if length > 0xFFFFFFFF:
        raise ValueError("the message is larger than 4 GiB")
    return b"".join((_HEADER.pack(0x52, 0x10 | m.flags, m.type, length, m.id, len(sender), len(to), m.device), sender, to, m.body))


def decode_frame(data: Buffer, at: int, max_body: int, max_frame: int = 0, extra: int = 0) -> Tuple[Optional[Message], int]:
    """Decode the frame that begins at ``data[at]``.

    Return the message and the index behind it; or None and how many bytes there have to be, from ``at`` on, before another call makes
    sense. ``max_body`` and ``max_frame`` are limits in bytes, 0 for none; ``extra`` is added to max_body for a Close, the answer to a
    Logon and an error reply.
    """
    have = len(data) - at
    if have < HEADER_LEN:
        _check_header(data[at:], max_body, max_frame, extra)
        return None, HEADER_LEN
    magic, version, kind, length, number, user, dest, device = _HEADER.unpack_from(data, at)
    flags = version & 15
    size = length - user - dest
    if (magic != 0x52 or version not in (0x10, 0x11, 0x13) or kind == 0 or size < 0 or (max_body and size > max_body)
            or (max_frame and length + HEADER_LEN > max_frame)):
        _check_header(data[at:at + HEADER_LEN], max_body, max_frame, extra)
    start = at + HEADER_LEN
    end = start + length
    if len(data) < end:
        if user or dest:
            _check_ids(bytes(data[start:start + user + dest]), user, dest)
        return None, HEADER_LEN + length
    sender = to = ""
    if user or dest:
        ids = bytes(data[start:start + user + dest])
        sender, to = _decode_id(ids[:user]), _decode_id(ids[user:])
    return Message(kind, bytes(data[end - size:end]), sender=sender, to=to, id=number, device=device, flags=flags), end


def _check_header(part: Buffer, max_body: int, max_frame: int, extra: int) -> None:
    """Raise the error that the first bytes of a frame show. The bytes are looked at in the order in which they come."""
    have = len(part)
    magic, version, kind, length, _, user, dest, _ = _HEADER.unpack(bytes(part) + bytes(HEADER_LEN - have))
    if have > 0 and magic != 0x52:
        raise invalid("the frame does not begin with the magic 0x52")
    if have > 1 and version >> 4 != 1:
        raise invalid(f"protocol version {version >> 4}, not 1")
    if have > 1 and version & 15 not in (0, REPLY, REPLY | ERROR):
        raise invalid(f"the flags {version & 15} are unknown")
    if have >= 4 and kind == 0:
        raise invalid("message type 0")
    if have <= 4:
        return
    # What is still to come can only make the length larger. It can make the body smaller, by two user IDs at most.
    least = length - (user if have > 12 else 255) - (dest if have > 13 else 255)
    if max_frame and length + HEADER_LEN > max_frame:
        raise CloseError(Code.MESSAGE_TOO_LARGE, f"a frame of {length + HEADER_LEN} bytes or more, and {max_frame} is the limit")
    if max_body and (kind == CLOSE or version & ERROR or (kind == LOGON and version & REPLY)):
        max_body += extra
    if max_body and least > max_body:
        raise CloseError(Code.MESSAGE_TOO_LARGE, f"a body of {least} bytes or more, and {max_body} is the limit")
    if (have > 12 and user > length) or (have > 13 and user + dest > length):
        raise invalid("the user IDs are longer than the frame")


def _decode_id(encoded: bytes) -> str:
    try:
        user = encoded.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid("a user ID that is not UTF-8") from None
    if _CONTROL.search(user):
        raise invalid("a user ID with a control character")
    return user


def _check_ids(come: bytes, user: int, dest: int) -> None:
    """Check the user IDs of a frame as far as they have come."""
    for part, whole in ((come[:user], user), (come[user:], dest)):
        try:
            text = part.decode("utf-8")
        except UnicodeDecodeError as e:
            if len(part) == whole or e.reason != "unexpected end of data":
                raise invalid("a user ID that is not UTF-8") from None
            text = part[:e.start].decode("utf-8")
        if _CONTROL.search(text):
            raise invalid("a user ID with a control character")


class Decoder:
    """Cuts a stream of bytes into messages."""

    def __init__(self, max_body: int = DEFAULT_MAX_BODY) -> None:
        self.max_body = max_body  #: the largest body in bytes; 0 for no limit
        self._rest = bytearray()
        self._need = 1

    @property
    def inside_frame(self) -> bool:
        """Whether a frame has begun to come, and is not complete."""
        return bool(self._rest)

    def feed(self, data: bytes) -> None:
        """Take bytes as they came from the network."""
        self._rest += data

    def next(self) -> Optional[Message]:
        """Return the next message, or None if its bytes have not all come. Raise a CloseError for a frame that breaks the protocol."""
        rest = self._rest
        if len(rest) < self._need:
            return None
        message, n = decode_frame(rest, 0, self.max_body, 0, SYSTEM_EXTRA)
        if message is None:
            self._need = n
            return None
        self._need = 1
        del rest[:n]
        return message


def encode_map(fields: Mapping[str, str]) -> bytes:
    """Return the bytes of a string map, its keys in order."""
    if len(fields) > 255:
        raise ValueError(f"a string map of {len(fields)} pairs, and 255 is the limit")
    parts = [bytes((len(fields),))]
    for key in sorted(fields):
        k = _utf8(key, "a key of a string map")
        v = _utf8(fields[key], f"the value of {key!r}")
        if not 1 <= len(k) <= 255:
            raise ValueError(f"a key of a string map has {len(k)} bytes; 1 to 255 are allowed")
        if len(v) > 0xFFFF:
            raise ValueError(f"the value of {key!r} has {len(v)} bytes, and 65535 is the limit")
        parts += (bytes((len(k),)), k, struct.pack(">H", len(v)), v)
    return b"".join(parts)


class _Cutter:
    """Reads a body from its front."""

    def __init__(self, body: bytes, what: str) -> None:
        self.body = body
        self.at = 0
        self.what = what

    def take(self, n: int) -> bytes:
        end = self.at + n
        if end > len(self.body):
            raise invalid(f"{self.what} is cut off")
        part = self.body[self.at:end]
        self.at = end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self, n: int) -> str:
        try:
            return self.take(n).decode("utf-8")
        except UnicodeDecodeError:
            raise invalid(f"{self.what} has a text that is not UTF-8") from None

    def map(self) -> Dict[str, str]:
        fields: Dict[str, str] = {}
        for _ in range(self.number(1)):
            key = self.text(self.number(1))
            if key == "" or key in fields:
                raise invalid(f"{self.what} has a key that is empty or comes twice")
            fields[key] = self.text(self.number(2))
        return fields

    def rest(self) -> bytes:
        return self.take(len(self.body) - self.at)

    def end(self) -> None:
        if self.at != len(self.body):
            raise invalid(f"{self.what} goes on behind its end")


def decode_map(body: bytes, at: int = 0, what: str = "a string map") -> Dict[str, str]:
    """Read a string map that goes from ``at`` to the end of the body. No byte at all is an empty map."""
    cut = _Cutter(body, what)
    cut.at = at
    fields = cut.map() if at < len(body) else {}
    cut.end()
    return fields


def encode_close(code: int, text: str = "", info: Optional[Mapping[str, str]] = None) -> bytes:
    """Return the body of a Close or of an error reply. A text that is too long is cut, and what is no valid text is replaced."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > 0xFFFF:
        encoded = encoded[:0xFFFF].decode("utf-8", "ignore").encode("utf-8")
    return struct.pack(">HH", code, len(encoded)) + encoded + (encode_map(info) if info else b"")


def decode_close(body: bytes) -> CloseError:
    """Read the body of a Close, of a refused logon or of an error reply."""
    cut = _Cutter(body, "a code and a text")
    code = cut.number(2)
    text = cut.text(cut.number(2))
    return CloseError(code, text, decode_map(body, cut.at, cut.what))


def decode_logon_reply(body: bytes) -> Dict[str, str]:
    """Read the fields of the answer to a Logon or a Renew. Raise its CloseError if the answer is a refusal."""
    if _Cutter(body, "a Logon's answer").number(2) != 0:
        raise decode_close(body)
    return decode_map(body, 2, "a Logon's answer")


def encode_id_list(users: Iterable[str]) -> bytes:
    """Return the body of a WhoIsOnline."""
    encoded = [encode_user_id(user) for user in users]
    if len(encoded) > MAX_ID_LIST:
        raise ValueError(f"a list of {len(encoded)} users, and {MAX_ID_LIST} is the limit")
    return struct.pack(">H", len(encoded)) + b"".join(bytes((len(e),)) + e for e in encoded)


def decode_id_list(body: bytes) -> List[str]:
    """Read a list of user IDs."""
    cut = _Cutter(body, "a list of user IDs")
    count = cut.number(2)
    if count > MAX_ID_LIST:
        raise invalid(f"a list of {count} users, and {MAX_ID_LIST} is the limit")
    users = []
    for _ in range(count):
        size = cut.number(1)
        if size == 0:
            raise invalid("a list with an empty user ID")
        users.append(_decode_id(cut.take(size)))
    cut.end()
    return users


@dataclass(eq=False, repr=False)
class Push:
    """What the server's application pushed.

    ``kind`` is one of TEXT, BINARY, KICK_OUT, NOTIFICATION and CUSTOM, or of a later version: ignore what you do not know. ``name`` says
    what a CUSTOM one is. ``time_ms`` is when it was made, in milliseconds since 1970 UTC, 0 for unknown. ``confirm`` says that the server
    waits for the acknowledgement, which the client sends by itself.
    """

    TEXT, BINARY, KICK_OUT, NOTIFICATION, CUSTOM = 1, 2, 3, 4, 5

    __slots__ = ("id", "kind", "name", "time_ms", "confirm", "metadata", "content")

    id: uuid.UUID
    kind: int
    name: str
    time_ms: int
    confirm: bool
    metadata: Dict[str, str]
    content: bytes

    def __repr__(self) -> str:
        return f"<Push {self.id} kind={self.kind} name={self.name!r}, {len(self.content)} bytes>"


def decode_push(body: bytes) -> Push:
    """Read the body of a Push."""
    cut = _Cutter(body, "a push")
    identity = cut.take(16)
    kind, flags = cut.number(1), cut.number(1)
    time_ms = int.from_bytes(cut.take(8), "big", signed=True)
    name = cut.text(cut.number(1))
    metadata = cut.map()
    content = cut.rest()
    if identity == bytes(16) or kind == 0 or flags > 1:
        raise invalid("a push without an ID or a kind, or with unknown flags")
    if (kind == Push.CUSTOM and not name) or (kind < Push.CUSTOM and name):
        raise invalid(f"a push of kind {kind} {'with' if name else 'without'} a name")
    if kind == Push.TEXT:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            raise invalid("a text push that is not UTF-8") from None
    return Push(uuid.UUID(bytes=identity), kind, name, time_ms, flags == 1, metadata, content)
