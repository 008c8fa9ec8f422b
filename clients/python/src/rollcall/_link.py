"""Moves bytes between a core.Connection and asyncio's transport."""

from __future__ import annotations

import asyncio
import threading
from typing import Callable, Dict, List, Optional

from .core import Connection, Ended, Event, Replied
from .errors import CloseError, Code, Disconnected
from .wire import Message

#: So many bytes are written at once, without waiting for the end of the event loop's turn.
_WRITE_AT_ONCE = 64 << 10
#: So many bytes may wait for the network before send waits.
_MOST_QUEUED = 256 << 10
#: So many bytes that came are looked at after a failed write, for the Close that says why.
_LAST_WORDS = 1 << 20


class Link(asyncio.Protocol):
    """One connection. It tells its owner what happens by on_events, in order; the last event is an Ended."""

    def __init__(self, conn: Connection, write_timeout: float, on_events: Callable[[Link, List[Event]], None]) -> None:
        self.conn = conn
        self._loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = self._loop.create_future()  #: done when the logon is accepted, or the connection over
        self.closed: asyncio.Future[None] = self._loop.create_future()  #: done when there is no socket any more
        self._on_events = on_events
        self._write_timeout = write_timeout
        self._transport: Optional[asyncio.Transport] = None
        self._replies: Dict[int, asyncio.Future[Message]] = {}
        self._timer: Optional[asyncio.TimerHandle] = None
        self._flush_planned = False
        self._posting = threading.Lock()
        self._posted: List[bytes] = []  # by other threads, not yet queued; guarded by _posting
        self._posted_size = 0  # in bytes; guarded by _posting for writing
        self._room: Optional[asyncio.Future[None]] = None  # done when the network takes more; None while it does
        self._stall: Optional[asyncio.TimerHandle] = None
        self._written = 0
        self._reading = True

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_MOST_QUEUED)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._tell(self.conn.receive(data, self._loop.time()))
        self.flush()
        self.arm()

    def eof_received(self) -> None:
        self._tell(self.conn.receive_end())

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if exc is not None and self.conn.ended is None:
            self._hear_last_words()
        self._tell(self.conn.receive_end(f"{type(exc).__name__}: {exc}" if exc else ""))
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()
        self.resume_writing()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()
        self._watch_progress()

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    # What comes.

    def _tell(self, events: List[Event]) -> None:
        if not events:
            return
        for event in events:
            if type(event) is Replied:
                self._replied(event)
            elif type(event) is Ended:
                self._over(event)
        self._on_events(self, events)
        if (self.conn.online or self.conn.ended is not None) and not self.accepted.done():
            self.accepted.set_result(None)

    def _replied(self, event: Replied) -> None:
        future = self._replies.pop(event.id, None)
        if future is None or future.done():
            return
        if isinstance(event.outcome, Message):
            future.set_result(event.outcome)
        else:
            future.set_exception(event.outcome)

    def _over(self, event: Ended) -> None:
        for future in self._replies.values():
            if not future.done():
                future.set_exception(Disconnected(event.reason))
        self._replies.clear()
        if not event.say_goodbye:
            self.abort()

    def _hear_last_words(self) -> None:
        """Read what came before a write failed: there may be a Close that forbids to reconnect."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        if sock is None or self._transport.get_extra_info("ssl_object") is not None:
            return
        try:
            with sock.dup() as again:
                again.setblocking(False)
                self._tell(self.conn.receive(again.recv(_LAST_WORDS), self._loop.time()))
        except OSError:
            pass  # nothing came

    def set_reading(self, reading: bool) -> None:
        """Stop reading, or go on, for a program that is behind."""
        if self._transport is None or self._transport.is_closing() or reading == self._reading:
            return
        self._reading = reading
        self.conn.pause(not reading, self._loop.time())
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # What is sent.

    def flush(self) -> None:
        """Write what is queued."""
        self._flush_planned = False
        if self._transport is None or self._transport.is_closing():
            return
        data = self.conn.take(self._loop.time())
        if data:
            self._written += len(data)
            self._transport.write(data)

    def flush_soon(self) -> None:
        """Write what is queued at the end of the event loop's turn, together with what else is queued until then."""
        if self.conn.queued >= _WRITE_AT_ONCE:
            self.flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self.flush)

    def post(self, frame: bytes) -> None:
        """Have a frame of conn.frame queued. Any thread may call this; all that is posted by then is taken at once.

        It raises RuntimeError if the event loop is closed.
        """
        with self._posting:
            first = not self._posted
            self._posted.append(frame)
            self._posted_size += len(frame)
        if first:
            self._loop.call_soon_threadsafe(self._take_posted)

    def _take_posted(self) -> None:
        with self._posting:
            frames, self._posted, self._posted_size = self._posted, [], 0
        self.conn.queue(frames)
        self.flush()

    @property
    def is_full(self) -> bool:
        """Whether a thread that posts has to wait for room: the network takes nothing, or too much is posted."""
        return self._room is not None or self._posted_size >= _WRITE_AT_ONCE

    async def room(self) -> None:
        """Wait while the network takes nothing."""
        while self._room is not None:
            await asyncio.shield(self._room)

    def expect(self, id: int) -> asyncio.Future[Message]:
        """Return what becomes the reply to a request."""
        future: asyncio.Future[Message] = self._loop.create_future()
        self._replies[id] = future
        return future

    def forget(self, id: int) -> None:
        """Give a request up."""
        self.conn.forget(id)
        future = self._replies.pop(id, None)
        if future is not None:
            future.cancel()

    def _watch_progress(self) -> None:
        """End the connection if the network takes no byte within the time limit."""
        assert self._transport is not None
        taken = self._written - self._transport.get_write_buffer_size()
        self._stall = self._loop.call_later(self._write_timeout, self._check_progress, taken)

    def _check_progress(self, before: int) -> None:
        assert self._transport is not None
        if self._written - self._transport.get_write_buffer_size() > before:
            self._watch_progress()
            return
        self._tell(self.conn.receive_end(f"the network took nothing for {self._write_timeout:g} s"))

    # Time.

    def arm(self) -> None:
        """Have _tick called when something is due. A timer that is early is left: it looks again."""
        if self._transport is None or not self.conn.online:
            return
        due = self.conn.deadline(self._loop.time())
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._tell(self.conn.tick(self._loop.time()))
        self.flush()
        self.arm()

    # The end.

    def abort(self) -> None:
        """Close the socket at once."""
        if self._transport is not None:
            self._transport.abort()
        elif not self.closed.done():
            self.closed.set_result(None)

    def leave(self, reason: CloseError) -> None:
        """Begin to end the connection from this side; finish does the rest."""
        if self.conn.ended is None:
            self._tell([self.conn.close(reason)])

    async def finish(self, timeout: float) -> None:
        """Write the Close that is queued, and wait until the server ends its side, for so many seconds at most."""
        self.set_reading(True)  # even if the program is behind: the end comes after what it has not read
        self.flush()
        transport = self._transport
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()
        try:
            await asyncio.wait({self.closed}, timeout=timeout)
        finally:
            self.abort()
        await self.closed


def lost(e: BaseException) -> CloseError:
    """Return the error for a connection that could not be made."""
    error = CloseError(Code.NETWORK_ERROR, f"{type(e).__name__}: {e}")
    error.__cause__ = e.with_traceback(None)  # which would keep the connection in memory
    return error
