"""What waits for the program, and the iterators that hand it out."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import Deque, Generic, List, Optional, Set, Tuple, TypeVar, cast

from ._link import Link
from .errors import CloseError, Code
from .inbox import Acknowledgements, Inbox, Item, State, StateChange
from .settings import Settings
from .wire import Message, Push

_T = TypeVar("_T")
#: With this many times max_inbound waiting a connection ends, although a request waits for its reply.
_HARD_LIMIT = 4


class Mailbox:
    """The inbox of a client, its state, and what it has to acknowledge."""

    def __init__(self, settings: Settings) -> None:
        self.link: Optional[Link] = None  #: the connection that is logged on
        self.present = StateChange(State.RECONNECTING, settings.user)
        self.ended_by_program = False
        self.acks = Acknowledgements()
        self._inbox = Inbox()
        self._max_inbound = settings.max_inbound
        self._arrivals: Set[asyncio.Future[None]] = set()
        self._watchers: weakref.WeakSet[States] = weakref.WeakSet()

    # States.

    def online(self, link: Link) -> None:
        """Take note that a connection is logged on, and send what has to be acknowledged."""
        self.link = link
        self._change(StateChange(State.ONLINE, link.conn.user or self.present.user))
        if not link.conn.online:
            return  # the Close has come with the answer to the Logon
        for id in self.acks.take_unsent():
            link.conn.acknowledge(id)

    def offline(self, state: State, reason: CloseError) -> None:
        """Take note that there is no connection."""
        self.link = None
        self._change(StateChange(state, self.present.user, reason))

    def end(self, reason: CloseError) -> None:
        """Take note that the program ends the client: what it has not read is thrown away."""
        self.ended_by_program = True
        self._inbox.discard()
        if self.present.state is not State.CLOSED:
            self.offline(State.CLOSED, reason)

    def _change(self, change: StateChange) -> None:
        self.present = change
        for watcher in list(self._watchers):
            watcher.tell(change)
        self.put(change)

    def states(self) -> States:
        """Return an iterator over the present state and those to come."""
        states = States(self)
        self._watchers.add(states)
        return states

    # Messages and pushes.

    def put(self, item: Item) -> None:
        """Add an item."""
        self._inbox.put(item)
        for future in self._arrivals:
            if not future.done():
                future.set_result(None)

    async def arrival(self) -> None:
        """Wait until there may be something to take."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals.add(future)
        try:
            await future
        finally:
            self._arrivals.remove(future)

    def take(self, kinds: Tuple[type, ...]) -> Optional[Item]:
        """Return what is next for the program. A push that it has dealt with is acknowledged once more, and not handed out."""
        while True:
            item = self._inbox.take(kinds)
            if self.link is not None and self._inbox.size < self._max_inbound:
                self.link.set_reading(True)
            if not isinstance(item, Push) or self.acks.is_new(item):
                return item
            if self.acks.is_done(item):
                self._acknowledge(item)

    def is_message_next(self, kinds: Tuple[type, ...]) -> bool:
        """Say whether a message is the oldest item of these types."""
        return self._inbox.oldest(kinds) is Message

    def limit(self) -> None:
        """Stop reading while too much waits. A reply that is waited for comes behind it, so then the client reads on, up to a limit."""
        if self.link is None or self._inbox.size < self._max_inbound:
            return
        if not self.link.conn.waits:
            self.link.set_reading(False)
        elif self._inbox.size >= _HARD_LIMIT * self._max_inbound:
            self.link.leave(CloseError(Code.RATE_LIMITED, "more has come than may wait while a request waits for its reply"))

    def finish(self, push: Push) -> None:
        """Acknowledge a push that the program has dealt with, once; without a connection on the next one."""
        if self.acks.finish(push):
            self._acknowledge(push)

    def _acknowledge(self, push: Push) -> None:
        if self.link is None:
            self.acks.keep(push.id)
            return
        self.link.conn.acknowledge(push.id)
        self.link.flush_soon()


class Stream(Generic[_T]):
    """An iterator over what comes; see ``Client.messages``, ``pushes`` and ``events``. It belongs to one loop at a time."""

    def __init__(self, mail: Mailbox, kinds: Tuple[type, ...]) -> None:
        self._mail = mail
        self._kinds = kinds
        self._push: Optional[Push] = None  # whose turn of the loop is not over

    def __aiter__(self) -> Stream[_T]:
        return self

    async def batch(self, most: int) -> List[_T]:
        """Return the next item, and messages that follow it and are there already; nothing at the end."""
        try:
            items = [await self.__anext__()]
        except StopAsyncIteration:
            return []
        while len(items) < most and self._push is None and self._mail.is_message_next(self._kinds):
            items.append(cast(_T, self._mail.take(self._kinds)))
        return items

    async def __anext__(self) -> _T:
        mail = self._mail
        if self._push is not None:
            mail.finish(self._push)
        self._push = None
        while True:
            item = mail.take(self._kinds)
            if item is not None:
                if isinstance(item, Push):
                    self._push = item
                return cast(_T, item)
            if mail.present.state is State.CLOSED:
                break
            await mail.arrival()
        reason = mail.present.reason
        if reason is None or mail.ended_by_program or StateChange in self._kinds:
            raise StopAsyncIteration
        raise CloseError(reason.code, reason.text, reason.info) from reason.__cause__

    def __del__(self) -> None:
        if self._push is not None:
            self._mail.acks.abandon(self._push)


class States:
    """An iterator over the states of a client, with a queue of its own."""

    def __init__(self, mail: Mailbox) -> None:
        self._mail = mail
        self._queue: Deque[StateChange] = deque((mail.present,))
        self._over = False

    def tell(self, change: StateChange) -> None:
        self._queue.append(change)

    def __aiter__(self) -> States:
        return self

    async def batch(self, most: int) -> List[StateChange]:
        """Return the next state; nothing at the end."""
        try:
            return [await self.__anext__()]
        except StopAsyncIteration:
            return []

    async def __anext__(self) -> StateChange:
        if self._over:
            raise StopAsyncIteration
        while not self._queue:
            await self._mail.arrival()
        change = self._queue.popleft()
        self._over = change.state is State.CLOSED
        return change
