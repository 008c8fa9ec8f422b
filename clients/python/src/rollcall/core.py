"""One connection, without input, output or a clock: bytes and the time go in, bytes and events come out.

rollcall.aio is built on it; build a transport of your own in the same way. All times are in seconds on a clock that never goes back.

    conn = Connection(settings, fields, now)
    write(conn.take(now))                      # the Logon
    for event in conn.receive(read(), now): …  # LoggedOn, Message, Push, Replied, RenewDue, Ended
    conn.tick(now)                             # when conn.deadline(now) has come; then write(conn.take(now)) again
"""

from __future__ import annotations

import random
import re
import uuid
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from . import wire
from .errors import CloseError, Code, NotConnected, ReplyError, TooLarge, may_reconnect
from .settings import Settings
from .wire import Message, Push

DEFAULT_HEARTBEAT = 10.0
LEAST_HEARTBEAT = 0.1
LEAST_SERVER_TIMEOUT = 3.0
LEAST_RENEWAL = 0.1
#: The least delay of a tick that counts as a standstill of this process.
STANDSTILL = 0.25
#: A renewal without an answer for so long is repeated.
RENEWAL_TIMEOUT = 15.0
LOGON_ID = 1
_MOST_MS = 10 * 365 * 86_400_000
_DIGITS = re.compile("[0-9]+")


def number(text: Optional[str], most: int) -> Optional[int]:
    """Read a decimal number, at most ``most``; None if the text is none."""
    if text is None or not _DIGITS.fullmatch(text):
        return None
    return int(text) if len(text) <= 18 and int(text) <= most else most


def seconds(ms: Optional[str]) -> float:
    """Read a decimal number of milliseconds; 0 if the text is none."""
    return (number(ms, _MOST_MS) or 0) / 1000


class LoggedOn:
    """The server has accepted the logon."""


class Replied:
    """The reply to the request ``id``: a message, or the error that the server or the user answered with."""

    def __init__(self, id: int, outcome: Union[Message, ReplyError]) -> None:
        self.id = id
        self.outcome = outcome


class RenewDue:
    """It is time to call ``renew`` with a fresh token, or ``renewal_failed``."""


class Ended:
    """The connection is over. ``say_goodbye``: there is a Close of this side to be written, and the end of the stream to be waited for."""

    def __init__(self, reason: CloseError, say_goodbye: bool = False) -> None:
        self.reason = reason
        self.say_goodbye = say_goodbye


Event = Union[LoggedOn, Message, Push, Replied, RenewDue, Ended]


class Connection:
    """The protocol's side of one connection, from the Logon to the end. It belongs to one thread at a time."""

    def __init__(self, settings: Settings, fields: Mapping[str, str], now: float, rng: Optional[random.Random] = None) -> None:
        self.user = ""  #: the user as the server names it, if it does
        self.session = ""  #: the session's ID, a secret
        self.online = False  #: whether messages may be sent
        self.was_online = False  #: whether the logon was accepted
        self.ended: Optional[CloseError] = None  #: why the connection is over; None while it is not
        self.queued = 0  #: how many bytes take would return
        self._settings = settings
        self._rng = rng or random.SystemRandom()
        self._decoder = wire.Decoder(settings.max_body or wire.DEFAULT_MAX_BODY)
        self._out: List[bytes] = []
        self._requests: Dict[int, Tuple[int, str]] = {}  # the type and the user who was asked, by the message ID
        self._last_id = self._rng.getrandbits(32)
        self._set_limits({})
        self._heard = self._sent = now
        self._paused = False
        self._asked = self._resumed = float("-inf")
        self._due = float("inf")
        self._expires_at = 0.0
        self._renew_at: Optional[float] = None
        self._renew_id = 0
        self._write(Message(wire.LOGON, wire.encode_map(fields), sender=settings.user, id=LOGON_ID, device=settings.device))

    def _set_limits(self, fields: Mapping[str, str]) -> None:
        """Set what the answer to the Logon limits."""
        asked = seconds(fields.get("heartbeat-ms"))
        self.heartbeat = max(asked, LEAST_HEARTBEAT) if asked else DEFAULT_HEARTBEAT  #: after so many seconds without sending, a Heartbeat is sent
        self._server_timeout = max(3 * self.heartbeat, LEAST_SERVER_TIMEOUT)
        self._ask_after = self._server_timeout / 3
        own = self._settings.max_body
        told = number(fields.get("max-body"), 1 << 40)
        self._decoder.max_body = max(own or wire.DEFAULT_MAX_BODY, told or 0)
        self.max_body = wire.DEFAULT_MAX_BODY if told is None else told  #: the largest body that may be sent
        if own is not None:
            self.max_body = min(self.max_body, own)

    # What comes.

    def receive(self, data: bytes, now: float) -> List[Event]:
        """Take bytes from the network and return what they mean, in order."""
        events: List[Event] = []
        if self.ended is not None:
            return events
        self._heard = now
        self._decoder.feed(data)
        try:
            while self.ended is None:
                message = self._decoder.next()
                if message is None:
                    break
                if self.online:
                    self._received(message, events, now)
                else:
                    self._log_on(message, events, now)
        except CloseError as mistake:
            events.append(self.close(mistake))
        return events

    def receive_end(self, text: str = "") -> List[Event]:
        """Take note of the stream's end, or of its failure, which the text describes. A second end means nothing."""
        if not text:
            text = "the server ended the connection " + ("within a frame" if self._decoder.inside_frame else "without a Close")
        return self.fail(CloseError(Code.NETWORK_ERROR, text))

    def _end(self, reason: CloseError) -> Ended:
        self.ended = reason
        self.online = False
        return Ended(reason)

    def _log_on(self, m: Message, events: List[Event], now: float) -> None:
        if m.type == wire.CLOSE and not m.flags & wire.REPLY:
            events.append(self._end(wire.decode_close(m.body)))
            return
        if m.type != wire.LOGON or not m.flags & wire.REPLY or m.id != LOGON_ID:
            raise wire.invalid(f"the server answered the logon with a message of type {m.type}")
        if m.flags & wire.ERROR or m.body[:2] not in (b"", b"\0\0"):
            refused = wire.decode_close(m.body)
            if refused.code == 0:
                raise wire.invalid("the logon was refused without a code")
            events.append(self._end(refused))
            return
        fields = wire.decode_logon_reply(m.body)
        self.user, self.session = m.to, fields.get("session", "")
        self._set_limits(fields)
        self.online = self.was_online = True
        self._set_expiry(seconds(fields.get("expires-ms")), now)
        events.append(LoggedOn())

    def _received(self, m: Message, events: List[Event], now: float) -> None:
        if m.flags & wire.REPLY:
            self._answered(m, events, now)
        elif m.type < wire.FIRST_SYSTEM_TYPE:
            if self._settings.takes(m.type):
                events.append(m)
            elif m.id and not m.sender:
                # Another user's request is not for a client to refuse: another session of this user may serve it.
                self._write(Message(m.type, wire.encode_close(Code.NO_HANDLER, "the client takes no messages of this type"),
                                    id=m.id, flags=wire.REPLY | wire.ERROR))
        elif m.type == wire.HEARTBEAT:
            if m.id:
                self._write(Message(wire.HEARTBEAT, id=m.id, flags=wire.REPLY))
        elif m.type == wire.CLOSE:
            events.append(self._end(wire.decode_close(m.body)))
        elif m.type == wire.PUSH:
            if self._settings.pushes:
                events.append(wire.decode_push(m.body))
        elif self._settings.takes(m.type):
            events.append(m)

    def _answered(self, m: Message, events: List[Event], now: float) -> None:
        if m.id == self._renew_id and m.type == wire.RENEW and not m.sender:
            self._renewed(m, now)
            return
        kind, asked = self._requests.get(m.id, (0, ""))
        if m.type != kind or m.sender not in ("", asked):
            return  # the answer to another session of this user
        del self._requests[m.id]
        if not m.flags & wire.ERROR:
            events.append(Replied(m.id, m))
            return
        try:
            refusal = wire.decode_close(m.body)
        except CloseError as mistake:
            refusal = mistake
        events.append(Replied(m.id, ReplyError(refusal.code, refusal.text, refusal.info)))

    # What is sent.

    def take(self, now: float) -> bytes:
        """Return the bytes that are to be written now. The caller must write them."""
        if not self._out:
            return b""
        self._sent = now
        data = b"".join(self._out)
        self._out.clear()
        self.queued = 0
        return data

    def _write(self, m: Message) -> None:
        self._queue(wire.encode_frame(m))

    def _queue(self, frame: bytes) -> None:
        self._out.append(frame)
        self.queued += len(frame)

    def frame(self, type: int, body: bytes = b"", *, to: str = "", id: int = 0, flags: int = 0) -> bytes:
        """Return a message's bytes for ``queue``. Raise NotConnected, TooLarge or ValueError. It changes nothing: any thread may call it."""
        if not 0 < type < wire.FIRST_SYSTEM_TYPE and not (type in wire.OPTIONAL_TYPES and to in ("", wire.SERVER_ID)):
            raise ValueError(f"messages of type {type} are not for the program to send there")
        if not isinstance(body, bytes):
            body = bytes(memoryview(body))  # whose length is that of its bytes
        return self._frame(Message(type, body, to=to, id=id, flags=flags))

    def _frame(self, m: Message) -> bytes:
        if not self.online:
            raise NotConnected("the client is not connected")
        if len(m.body) > self.max_body:
            raise TooLarge(f"a body of {len(m.body)} bytes, and {self.max_body} is the limit of the server or of max_body")
        return wire.encode_frame(m)

    def queue(self, frames: Iterable[bytes]) -> None:
        """Queue what ``frame`` returned. If the connection is over by now it is lost."""
        if self.online:
            for frame in frames:
                self._queue(frame)

    def send(self, type: int, body: bytes = b"", *, to: str = "", id: int = 0, flags: int = 0) -> None:
        """Queue a message. Raise NotConnected, TooLarge or ValueError; then nothing was queued."""
        self._queue(self.frame(type, body, to=to, id=id, flags=flags))

    def request(self, type: int, body: bytes = b"", *, to: str = "") -> int:
        """Queue a request, and return the ID that its reply will have. The errors are those of send."""
        id = self._next_id()
        self.send(type, body, to=to, id=id)
        self._requests[id] = (type, "" if to == wire.SERVER_ID else to)
        return id

    def ask_who_is_online(self, users: Sequence[str]) -> int:
        """Queue a WhoIsOnline; otherwise as request."""
        id = self._next_id()
        self._queue(self._frame(Message(wire.WHO_IS_ONLINE, wire.encode_id_list(users), id=id)))
        self._requests[id] = (wire.WHO_IS_ONLINE, "")
        return id

    def _next_id(self) -> int:
        """Return an ID that no open request has. IDs begin at random, because a reply reaches every session of the user who asked."""
        while True:
            self._last_id = (self._last_id + 1) & 0xFFFFFFFF
            if self._last_id and self._last_id != self._renew_id and self._last_id not in self._requests:
                return self._last_id

    def forget(self, id: int) -> None:
        """Give a request up. A reply that still comes is dropped."""
        self._requests.pop(id, None)

    @property
    def waits(self) -> bool:
        """Whether a request is open."""
        return bool(self._requests)

    def acknowledge(self, push: uuid.UUID) -> None:
        """Queue the acknowledgement of a push."""
        if not self.online:
            raise NotConnected("the client is not connected")
        self._write(Message(wire.PUSH_ACK, push.bytes))

    def close(self, reason: CloseError) -> Ended:
        """End the connection from this side: queue a Close that says why."""
        self._write(Message(wire.CLOSE, wire.encode_close(reason.code, reason.text)))
        self._end(reason)
        return Ended(reason, say_goodbye=True)

    def fail(self, reason: CloseError) -> List[Event]:
        """End the connection without a word to the server. A second end means nothing."""
        return [] if self.ended is not None else [self._end(reason)]

    # Heartbeats.

    def pause(self, paused: bool, now: float) -> None:
        """Take note that the program itself reads nothing, or reads again. Meanwhile the silence is not the server's."""
        self._paused = paused
        self._heard = now

    def _server_heard(self, now: float) -> float:
        """Return when the server was heard last. After a standstill of this process it has a third of its timeout left."""
        return now if self._paused else max(self._heard, self._resumed - 2 * self._ask_after)

    def deadline(self, now: float) -> float:
        """Return when tick is to be called. Call it again after each receive, take and tick, or look at the time it returned then."""
        if not self.online:
            self._due = float("inf")
            return self._due
        ask = max(self._server_heard(now), self._asked) + self._ask_after
        self._due = max(min(self._sent + self.heartbeat, ask, float("inf") if self._renew_at is None else self._renew_at), now)
        return self._due

    def tick(self, now: float) -> List[Event]:
        """Do what is due: send a heartbeat, ask for a renewal, or give up a server that has been silent for too long."""
        if not self.online:
            return []
        if now - self._due >= STANDSTILL and now - self._resumed >= self._server_timeout:
            self._resumed = now  # once for each server timeout, so that a machine that is always late finds a dead server too
        events: List[Event] = []
        heard = self._server_heard(now)
        ask = now >= max(heard, self._asked) + self._ask_after  # the sums of deadline, so that rounding makes no difference
        if ask and now >= heard + self._server_timeout - 0.001 and now - self._asked < 2 * self._ask_after:
            return [self._end(CloseError(Code.NETWORK_ERROR, f"the server has been silent for {now - heard:.1f} s"))]
        if ask:
            self._asked = now
            self._write(Message(wire.HEARTBEAT, id=self._next_id()))
        elif now >= self._sent + self.heartbeat:
            self._write(Message(wire.HEARTBEAT))
        if self._renew_at is not None and now >= self._renew_at:
            self._renew_at = None
            self._renew_id = 0
            events.append(RenewDue())
        return events

    # Renewal.

    def _set_expiry(self, lasts: float, now: float) -> None:
        self._expires_at = now + lasts
        # At random, so that the clients of a restarted server do not all renew at once; a quarter is left at least.
        self._renew_at = now + max(lasts * self._rng.uniform(0.6, 0.75), LEAST_RENEWAL) if lasts else None

    def renew(self, fields: Mapping[str, str], now: float) -> None:
        """Queue a Renew with the fields of a Logon and a fresh token."""
        body = wire.encode_map(fields)
        self._renew_id = self._next_id()
        self._renew_at = now + RENEWAL_TIMEOUT
        self._queue(self._frame(Message(wire.RENEW, body, id=self._renew_id, device=self._settings.device)))

    def renewal_failed(self, now: float, code: int = Code.NETWORK_ERROR, retry: float = 0.0) -> None:
        """Plan another renewal, if the code, with which a renewal was refused or that the program's token function gave, allows it."""
        left = self._expires_at - now
        # A renewal with a bad token is not repeated, because each counts as a failed logon.
        again = left > 0 and (may_reconnect(code) or code in (Code.REFUSED, Code.HANDLER_FAILED, Code.TIMED_OUT))
        self._renew_at = now + max(left * self._rng.uniform(1 / 16, 1 / 8), LEAST_RENEWAL, retry) if again else None

    def _renewed(self, m: Message, now: float) -> None:
        self._renew_id = 0
        try:
            if m.flags & wire.ERROR:
                raise wire.decode_close(m.body)
            self._set_expiry(seconds(wire.decode_logon_reply(m.body).get("expires-ms")), now)
        except CloseError as refused:
            self.renewal_failed(now, refused.code, seconds(refused.info.get("retry-ms")))
