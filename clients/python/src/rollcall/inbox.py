"""What waits for the program: messages, pushes and changes of state. Without input or output, for one thread at a time."""

from __future__ import annotations

import enum
import uuid
from collections import OrderedDict, deque
from typing import Deque, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from .errors import CloseError
from .wire import HEADER_LEN, Message, Push

#: How many acknowledged pushes are remembered; the protocol's number.
REMEMBERED = 1024
_KEPT_STATES = 1000


class State(enum.Enum):
    """What a client is doing."""

    ONLINE = "online"  #: It is logged on.
    RECONNECTING = "reconnecting"  #: There is no connection; it waits, or tries to make one.
    CLOSED = "closed"  #: It has ended for good.


class StateChange(NamedTuple):
    """A new state. ``user`` is the user's ID as the server spells it. ``reason`` says why the client is not online; None if it is."""

    state: State
    user: str
    reason: Optional[CloseError] = None


Item = Union[Message, Push, StateChange]


class Inbox:
    """Three queues in one order. ``size`` is how many bytes of messages and pushes wait."""

    def __init__(self) -> None:
        self.size = 0
        self._number = 0
        self._queues: Dict[type, Deque[Tuple[int, Item]]] = {
            Message: deque(), Push: deque(), StateChange: deque(maxlen=_KEPT_STATES)}

    def put(self, item: Item) -> None:
        """Add an item. Of the changes of state the last 1,000 are kept, for a program that reads none."""
        self.size += _size(item)
        self._number += 1
        self._queues[type(item)].append((self._number, item))

    def oldest(self, kinds: Tuple[type, ...]) -> Optional[type]:
        """Return the type of the oldest item of these types, None if there is none."""
        oldest, number = None, 0
        for kind in kinds:
            queue = self._queues[kind]
            if queue and (oldest is None or queue[0][0] < number):
                oldest, number = kind, queue[0][0]
        return oldest

    def take(self, kinds: Tuple[type, ...]) -> Optional[Item]:
        """Return the oldest item of these types, None if there is none."""
        oldest = self.oldest(kinds)
        if oldest is None:
            return None
        item = self._queues[oldest].popleft()[1]
        self.size -= _size(item)
        return item

    def discard(self) -> None:
        """Throw away all messages and pushes."""
        self._queues[Message].clear()
        self._queues[Push].clear()
        self.size = 0


def _size(item: Item) -> int:
    if type(item) is Message:
        return HEADER_LEN + len(item.body)
    return HEADER_LEN + len(item.content) if isinstance(item, Push) else 0


class Acknowledgements:
    """Which pushes the program has dealt with, over all connections of a client."""

    def __init__(self) -> None:
        self._done: OrderedDict[uuid.UUID, None] = OrderedDict()
        self._handed_out: Set[uuid.UUID] = set()
        self._unsent: Deque[uuid.UUID] = deque(maxlen=REMEMBERED)

    def is_new(self, push: Push) -> bool:
        """Say whether the program is to get this push. It counts as handed out then, until ``finish`` or ``abandon``."""
        if not push.confirm:
            return True
        if push.id in self._done or push.id in self._handed_out:
            return False
        self._handed_out.add(push.id)
        return True

    def is_done(self, push: Push) -> bool:
        """Say whether this push was dealt with, and has to be acknowledged once more."""
        return push.id in self._done

    def finish(self, push: Push) -> bool:
        """Take note that the program has dealt with a push. Return whether it is to be acknowledged now: once, if the server asked for it."""
        if push.id not in self._handed_out:
            return False
        self._handed_out.remove(push.id)
        self._done[push.id] = None
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        return True

    def abandon(self, push: Push) -> None:
        """Take note that the program was handed a push and has not dealt with it. If it comes again it is handed out again."""
        self._handed_out.discard(push.id)

    def keep(self, id: uuid.UUID) -> None:
        """Keep an acknowledgement that could not be sent. Of more than 1,024 the oldest is dropped."""
        self._unsent.append(id)

    def take_unsent(self) -> List[uuid.UUID]:
        """Return the kept acknowledgements, which are to be sent now."""
        unsent = list(self._unsent)
        self._unsent.clear()
        return unsent
