"""The client for programs without asyncio.

    with rollcall.sync.connect("tls://host:9000", user="alice", token=fresh_token) as c:
        for m in c.messages():
            c.reply(m, b"ok")

What the methods do, and what they raise, is described at those of ``rollcall.aio.Client``. They may be called from any thread, but ``close``
not by the token function.

A client has one thread of its own, and a second one as soon as it has called a token function or looked up a host's name. Both
end with ``close``.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl as _ssl
import threading
from collections import deque
from types import TracebackType
from typing import Any, Awaitable, Callable, Coroutine, Deque, Generic, Iterable, Iterator, List, Mapping, Optional, Protocol, Sequence, Type
from typing import TypeVar, Union

from . import aio
from ._link import Link
from .errors import CloseError
from .inbox import State, StateChange
from .settings import Settings
from .wire import Message, Push

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
#: So many messages are fetched from the client's thread at a time.
_BATCH = 100


class Client:
    """One user's connection to a server, and the connections that replace it when it is lost. ``connect`` makes one."""

    def __init__(self, settings: Settings, wait: bool = True) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, "rollcall helper"))
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="rollcall", daemon=True)
        self._thread.start()
        try:
            self._client = self._do(_begun(settings, wait))
        except BaseException:
            self._stop()
            raise

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)  # of a connect that was interrupted, which are about to end
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def _stop(self) -> None:
        """End the thread. Nothing is scheduled on its loop from now on."""
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Have the client's thread do something, and return what that returns."""
        with self._lock:
            future = None if self._closed else asyncio.run_coroutine_threadsafe(work, self._loop)
        if future is None:
            return self._do_after_end(work)
        try:
            return future.result()
        except BaseException:  # KeyboardInterrupt, say
            future.cancel()
            raise

    def _do_after_end(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something without the thread: a client that has ended waits for nothing."""
        self._thread.join()
        with self._lock:
            try:
                work.send(None)
            except StopIteration as end:
                value: _T = end.value
                return value
            finally:
                work.close()
        raise AssertionError("a client that has ended waits for something")

    def _wait_for_room(self, link: Link) -> None:
        """Wait while the network, or the client's thread, does not keep up with what is sent."""
        if link.is_full:
            self._do(link.room())

    def __repr__(self) -> str:
        return repr(self._client).replace("rollcall.aio", "rollcall.sync")

    @property
    def user(self) -> str:
        """The user's ID as the server spells it, which may have found it by the token."""
        return self._client.user

    @property
    def state(self) -> State:
        """What the client is doing."""
        return self._client.state

    @property
    def error(self) -> Optional[CloseError]:
        """Why the client has ended for good, with ``Code.CLIENT_CLOSED`` after ``close``; None while it has not."""
        return self._client.error

    @property
    def settings(self) -> Settings:
        """The settings that ``connect`` was called with."""
        return self._client.settings

    def send(self, type: int, body: bytes = b"", *, to: str = "") -> None:
        """Send a message that expects no answer, to the server or to the user ``to``."""
        self._wait_for_room(self._client._put(type, body, to=to))

    def request(self, type: int, body: bytes = b"", *, to: str = "", timeout: Optional[float] = 30.0) -> Message:
        """Send a request, to the server or to the user ``to``, and return the reply."""
        return self._do(self._client.request(type, body, to=to, timeout=timeout))

    def who_is_online(self, users: Sequence[str], *, timeout: Optional[float] = 30.0) -> List[str]:
        """Return which of the users, 1,000 at most, are online, in the same order."""
        return self._do(self._client.who_is_online(users, timeout=timeout))

    def reply(self, message: Message, body: bytes = b"") -> None:
        """Answer a request of the server or of another user."""
        if message.wants_reply:
            self._wait_for_room(self._client._put_reply(message, body))

    def reply_error(self, message: Message, code: int, text: str = "") -> None:
        """Answer a request with an error: a code from 3000 on, and a text for people."""
        aio.check_error_code(code)
        if message.wants_reply:
            self._wait_for_room(self._client._put_error(message, code, text))

    def acknowledge(self, push: Push) -> None:
        """Acknowledge a push now, before its turn of the loop is over."""
        self._do(self._client.acknowledge(push))

    def messages(self) -> Iterator[Message]:
        """Iterate over the messages of the server and of other users."""
        return _Iterator(self, self._client.messages())

    def pushes(self) -> Iterator[Push]:
        """Iterate over the server's pushes, which are acknowledged when their turn of the loop is over."""
        return _Iterator(self, self._client.pushes())

    def events(self) -> Iterator[Union[Message, Push, StateChange]]:
        """Iterate over messages, pushes and changes of state, in the order in which they happened."""
        return _Iterator(self, self._client.events())

    def states(self) -> Iterator[StateChange]:
        """Iterate over the states: the present one first, then each change, and each failed attempt."""
        return _Iterator(self, self._client.states())

    def close(self) -> None:
        """End the client, and its threads. Loops and requests of other threads end too. It waits for a token function that runs."""
        with self._lock:
            future = None if self._closed else asyncio.run_coroutine_threadsafe(self._client.close(), self._loop)
        if future is not None:
            try:
                future.result()
            except concurrent.futures.CancelledError:
                pass  # another thread has closed it meanwhile
        self._stop()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], e: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()


class _Source(Protocol[_T_co]):
    async def batch(self, most: int) -> Sequence[_T_co]: ...


class _Iterator(Generic[_T]):
    def __init__(self, client: Client, source: _Source[_T]) -> None:
        self._client = client
        self._source = source
        self._fetched: Deque[_T] = deque()

    def __iter__(self) -> _Iterator[_T]:
        return self

    def __next__(self) -> _T:
        if self._client._closed:
            self._fetched.clear()
        if not self._fetched:
            self._fetched.extend(self._client._do(self._source.batch(_BATCH)))
            if not self._fetched:
                raise StopIteration
        return self._fetched.popleft()


class _AsyncClient(aio.Client):
    """A client that any thread may give messages to, and whose token function may block.

    The thread that sends does not wait for the client's thread: to hand one message over and to wait costs far more than the message.
    A token function runs on the helper's thread, while the client's sends heartbeats.
    """

    def _put(self, type: int, body: bytes, *, to: str, id: int = 0, flags: int = 0) -> Link:
        link = self._online()
        frame = link.conn.frame(type, body, to=to, id=id, flags=flags)
        try:
            link.post(frame)
        except RuntimeError:  # another thread has closed the client meanwhile, and its loop
            return self._online()  # which raises ClientClosed
        return link

    async def _call(self, function: Callable[[], Union[str, Awaitable[str]]]) -> str:
        token = await self._loop.run_in_executor(None, function)
        if not isinstance(token, str):
            raise TypeError("the token function returned no string")
        return token


async def _begun(settings: Settings, wait: bool) -> aio.Client:
    client = _AsyncClient(settings)
    if wait:
        return await aio.opened(client)
    client.start()
    return client


def connect(address: str, *, user: str = "", token: Union[str, Callable[[], str], None] = None, device: int = 0,
            fields: Optional[Mapping[str, str]] = None, ca: Optional[str] = None, ssl: Optional[_ssl.SSLContext] = None,
            types: Optional[Iterable[int]] = None, pushes: bool = False, max_body: Optional[int] = None, max_inbound: int = 4 << 20,
            min_backoff: float = 0.2, max_backoff: float = 30.0, stable_after: float = 60.0, connect_timeout: float = 15.0,
            write_timeout: float = 10.0, close_timeout: float = 3.0, wait: bool = True) -> Client:
    """Connect to a server and log on. The client has to be closed: ``with connect(…) as client``.

    The arguments and errors are those of ``rollcall.aio.connect``, but that ``token`` is a string or a plain function, which may block.
    With ``wait=False`` it returns at once: ``states`` or ``events`` tell how it goes, and ``close`` ends the attempt.
    """
    return Client(Settings(
        address, user=user, token=token, device=device, fields=fields, ca=ca, ssl=ssl, types=types, pushes=pushes, max_body=max_body,
        max_inbound=max_inbound, min_backoff=min_backoff, max_backoff=max_backoff, stable_after=stable_after,
        connect_timeout=connect_timeout, write_timeout=write_timeout, close_timeout=close_timeout), wait)
