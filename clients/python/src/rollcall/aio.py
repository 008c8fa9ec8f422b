"""The client for asyncio.

    async with rollcall.connect("tls://host:9000", user="alice", token=fresh_token) as c:
        async for m in c.messages():
            await c.reply(m, b"ok")

A client belongs to the event loop that it was made on; nothing here may be called from another thread.
"""

from __future__ import annotations

import asyncio
import ssl as _ssl
from types import TracebackType
from typing import Any, Awaitable, Callable, Dict, Generator, Iterable, List, Mapping, Optional, Sequence, Set, Type, Union

from . import wire
from ._link import Link, lost
from ._mailbox import Mailbox, States, Stream
from .core import Connection, Ended, Event, LoggedOn, RenewDue
from .errors import ClientClosed, CloseError, Code, NotConnected, ReplyError, RequestTimeout, RollcallError, TooLarge
from .inbox import State, StateChange
from .reconnect import Reconnector
from .settings import Settings, Token
from .wire import Message, Push


class Client:
    """One user's connection to a server, and the connections that replace it when it is lost. ``connect`` makes one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._reconnector = Reconnector(settings)
        self._mail = Mailbox(settings)
        self._session = ""
        self._links: Set[Link] = set()  # those that have a socket
        self._reconnecting: Optional[asyncio.Task[None]] = None
        self._renewing: Optional[asyncio.Task[None]] = None
        self._goodbyes: Set[asyncio.Task[None]] = set()  # which end a connection in order
        self._closing: Optional[asyncio.Task[None]] = None

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.Client {self.user!r} at {self._reconnector.target}, {self.state.value}>"

    @property
    def user(self) -> str:
        """The user's ID as the server spells it, which may have found it by the token."""
        return self._mail.present.user

    @property
    def state(self) -> State:
        """What the client is doing."""
        return self._mail.present.state

    @property
    def error(self) -> Optional[CloseError]:
        """Why the client has ended for good, with ``Code.CLIENT_CLOSED`` after ``close``; None while it has not."""
        return self._mail.present.reason if self.state is State.CLOSED else None

    @property
    def settings(self) -> Settings:
        """The settings that ``connect`` was called with."""
        return self._settings

    # Sending.

    async def send(self, type: int, body: bytes = b"", *, to: str = "") -> None:
        """Send a message that expects no answer, to the server or to the user ``to``.

        It returns when the message is queued, and waits only while the network takes nothing. A message that is under way when the
        connection is lost is lost without an error; use ``request`` where that matters. It raises NotConnected while there is no
        connection, ClientClosed, TooLarge, and ValueError for what may not be sent.
        """
        await self._put(type, body, to=to).room()

    async def request(self, type: int, body: bytes = b"", *, to: str = "", timeout: Optional[float] = 30.0) -> Message:
        """Send a request, to the server or to the user ``to``, and return the reply.

        It raises ReplyError for an error reply, RequestTimeout when no reply has come within ``timeout`` seconds (None for no limit),
        Disconnected when the connection was lost before, and otherwise as ``send``.
        """
        link = self._online()
        return await self._reply_to(link, link.conn.request(type, body, to=to), timeout)

    async def who_is_online(self, users: Sequence[str], *, timeout: Optional[float] = 30.0) -> List[str]:
        """Return which of the users, 1,000 at most, are online, in the same order. It raises as ``request``."""
        link = self._online()
        reply = await self._reply_to(link, link.conn.ask_who_is_online(users), timeout)
        try:
            return wire.decode_id_list(reply.body)
        except CloseError as mistake:
            raise ReplyError(mistake.code, mistake.text) from None

    async def reply(self, message: Message, body: bytes = b"") -> None:
        """Answer a request of the server or of another user. Where the sender waits for no reply nothing is sent.

        It raises as ``send``. After TooLarge the sender gets HandlerFailed. If the request came on an earlier connection the answer is
        most likely ignored.
        """
        if message.wants_reply:
            await self._put_reply(message, body).room()

    async def reply_error(self, message: Message, code: int, text: str = "") -> None:
        """Answer a request with an error: a code from 3000 on, such as ``Code.REFUSED`` or one of the application, and a text for people."""
        check_error_code(code)
        if message.wants_reply:
            await self._put_error(message, code, text).room()

    def _put(self, type: int, body: bytes, *, to: str, id: int = 0, flags: int = 0) -> Link:
        """Queue a message, and return the connection that it goes to."""
        link = self._online()
        link.conn.send(type, body, to=to, id=id, flags=flags)
        link.flush_soon()
        return link

    def _put_reply(self, message: Message, body: bytes) -> Link:
        try:
            return self._put(message.type, body, to=message.sender, id=message.id, flags=wire.REPLY)
        except TooLarge:
            self._put_error(message, Code.HANDLER_FAILED, "the answer could not be sent")
            raise

    def _put_error(self, message: Message, code: int, text: str) -> Link:
        return self._put(message.type, wire.encode_close(code, text), to=message.sender, id=message.id, flags=wire.REPLY | wire.ERROR)

    def _online(self) -> Link:
        if self._mail.link is not None:
            return self._mail.link
        if self.error is not None:
            raise ClientClosed(self.error)
        raise NotConnected("the client is not connected")

    async def _reply_to(self, link: Link, id: int, timeout: Optional[float]) -> Message:
        future = link.expect(id)
        link.set_reading(True)  # even if the program is behind: the reply comes after what it has not read
        timer = None if timeout is None else self._loop.call_later(timeout, _expire, future, timeout)
        try:
            link.flush_soon()
            await link.room()
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            link.forget(id)
            if future.done() and not future.cancelled():
                future.exception()  # it may not have been looked at, if this was cancelled

    # Receiving.

    def messages(self) -> Stream[Message]:
        """Iterate over the messages of the server and of other users. It raises the CloseError when the client has ended, but for ``close``.

        Several loops may run at a time: each message goes to one of them.
        """
        return Stream(self._mail, (Message,))

    def pushes(self) -> Stream[Push]:
        """Iterate over the server's pushes, for a client that was made with ``pushes=True``. Otherwise as ``messages``.

        A push is acknowledged when its turn of the loop is over: when the loop asks for the next one. A loop that is left by break or
        by an error does not acknowledge the last one, and the server may send it again; see ``acknowledge``.
        """
        return Stream(self._mail, (Push,))

    def events(self) -> Stream[Union[Message, Push, StateChange]]:
        """Iterate over messages, pushes and changes of state, in the order in which they happened. It ends behind ``State.CLOSED``."""
        return Stream(self._mail, (Message, Push, StateChange))

    def states(self) -> States:
        """Iterate over the states: the present one first, then each change, and each failed attempt. It ends behind ``State.CLOSED``."""
        return self._mail.states()

    async def acknowledge(self, push: Push) -> None:
        """Acknowledge a push now, before its turn of the loop is over. A second time means nothing.

        Without a connection the acknowledgement goes out on the next one.
        """
        self._mail.finish(push)

    # Connecting.

    async def _open(self) -> None:
        """Make a connection and log on. Raise a CloseError if that fails."""
        work = asyncio.ensure_future(self._attempt())
        limit = self._settings.connect_timeout
        try:
            await asyncio.wait({work}, timeout=limit)
        finally:
            if not work.done():
                if self._mail.link is None:  # otherwise the logon has been accepted just now
                    work.cancel()
                await asyncio.wait({work})
        if work.cancelled():
            raise CloseError(Code.NETWORK_ERROR, f"connecting and logging on took longer than {limit:g} s")
        work.result()

    async def _attempt(self) -> None:
        target = self._reconnector.target
        context = self._settings.ssl
        try:
            fields = await self._fields(self._session)
            conn = Connection(self._settings, fields, self._loop.time())
        except ValueError as e:  # the token is no text, or too long
            raise lost(e) from None
        link = Link(conn, self._settings.write_timeout, self._happened)
        self._links.add(link)
        link.closed.add_done_callback(lambda _: self._links.discard(link))
        try:
            await self._loop.create_connection(
                lambda: link, target.host, target.port, ssl=context, server_hostname=target.host if context else None,
                ssl_handshake_timeout=self._settings.connect_timeout if context else None)
            await link.accepted
            if conn.ended is not None and not conn.was_online:
                raise conn.ended
        except (OSError, ValueError) as e:  # a ValueError is of a host that is no name
            link.abort()
            raise lost(e)
        except asyncio.CancelledError:
            link.abort()
            raise

    async def _fields(self, session: str) -> Dict[str, str]:
        """Return the fields of a Logon or, without a session, of a Renew."""
        fields = dict(self._settings.fields)
        if session:
            fields["session"] = session
        token = self._settings.token
        if callable(token):
            try:
                token = await self._call(token)
            except CloseError:
                raise
            except Exception as e:
                raise CloseError(Code.NETWORK_ERROR, f"the token function failed with {type(e).__name__}") from e
        if token:
            fields["token"] = token
        return fields

    async def _call(self, function: Callable[[], Union[str, Awaitable[str]]]) -> str:
        result = function()
        return result if isinstance(result, str) else await result

    async def _connect(self) -> None:
        """Make the first attempt, which is the only one if it fails."""
        try:
            await self._open()
        except CloseError as e:
            self._mail.offline(State.CLOSED, e.with_traceback(None))

    def start(self) -> asyncio.Task[None]:
        """Begin to connect. The state is ONLINE or CLOSED when the task is done, unless the connection was lost at once."""
        self._reconnecting = self._loop.create_task(self._connect())
        return self._reconnecting

    async def _reconnect(self, wait: Optional[float]) -> None:
        """Try to connect, after so many seconds, until an attempt succeeds or there must be none."""
        reason: CloseError
        while wait is not None:
            await asyncio.sleep(wait)
            try:
                await self._open()
                return
            except CloseError as e:
                reason = e.with_traceback(None)  # which would keep the connection in memory
            wait = self._reconnector.failed(reason, self._loop.time())
            if wait is not None:
                self._mail.offline(State.RECONNECTING, reason)
        self._mail.offline(State.CLOSED, reason)

    def _happened(self, link: Link, events: List[Event]) -> None:
        """Take what happened on a connection."""
        for event in events:
            if isinstance(event, (Message, Push)):
                self._mail.put(event)
            elif isinstance(event, LoggedOn):
                self._logged_on(link)
            elif isinstance(event, RenewDue):
                self._renewing = self._loop.create_task(self._renew(link))
            elif isinstance(event, Ended):
                self._ended(link, event)
        if link is self._mail.link:
            self._mail.limit()

    def _logged_on(self, link: Link) -> None:
        if self._closing is not None:
            return  # what logs on is being cancelled
        conn = link.conn
        self._session = conn.session
        self._reconnector.online(self._loop.time(), conn.heartbeat)
        self._mail.online(link)

    def _ended(self, link: Link, event: Ended) -> None:
        if event.say_goodbye:
            goodbye = self._loop.create_task(link.finish(self._settings.close_timeout))
            self._goodbyes.add(goodbye)
            goodbye.add_done_callback(self._goodbyes.discard)
        if link is not self._mail.link or self._closing is not None:
            return  # it was logging on, or the program ends it
        if self._renewing is not None:
            self._renewing.cancel()
        wait = self._reconnector.lost(event.reason, self._loop.time())
        if wait is None:
            self._mail.offline(State.CLOSED, event.reason)
            return
        self._mail.offline(State.RECONNECTING, event.reason)
        self._reconnecting = self._loop.create_task(self._reconnect(wait))

    async def _renew(self, link: Link) -> None:
        try:
            fields = await self._fields("")
            fields.pop("session", None)  # a renewal takes over no session
            link.conn.renew(fields, self._loop.time())
            link.flush_soon()
        except CloseError as e:
            link.conn.renewal_failed(self._loop.time(), e.code)
        except (RollcallError, ValueError):
            link.conn.renewal_failed(self._loop.time())
        link.arm()

    # The end.

    async def close(self) -> None:
        """End the client: what was sent goes out, then a Close; the server has ``close_timeout`` seconds to end its side.

        Open requests end with Disconnected, loops end, what has not been read is thrown away, and pushes whose turn of the loop is not over
        are not acknowledged. A second call waits for the same end. When it returns there is no socket, task or timer of the client.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        reason = CloseError(Code.CLIENT_CLOSED, "the program closed the client")
        work = [task for task in (self._reconnecting, self._renewing) if task is not None]
        for task in work:
            task.cancel()
        link = self._mail.link
        self._mail.end(reason)
        if link is not None:
            link.leave(reason)
        await asyncio.gather(*work, *self._goodbyes, return_exceptions=True)
        if self._links:
            await asyncio.wait({link.closed for link in self._links})

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], e: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        await self.close()


async def opened(client: Client) -> Client:
    """Log a new client on, and return it; close it if that fails."""
    try:
        await client.start()
    except asyncio.CancelledError:
        await client.close()
        raise
    if client.error is not None:
        await client.close()
        raise client.error
    return client


class Connect:
    """What ``connect`` returns: use it with ``async with``, or await it and close the client yourself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Optional[Client] = None

    def __await__(self) -> Generator[Any, None, Client]:
        return opened(Client(self._settings)).__await__()

    async def __aenter__(self) -> Client:
        self._client = await self
        return self._client

    async def __aexit__(self, kind: Optional[Type[BaseException]], e: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if self._client is not None:
            await self._client.close()


def connect(address: str, *, user: str = "", token: Token = None, device: int = 0, fields: Optional[Mapping[str, str]] = None,
            ca: Optional[str] = None, ssl: Optional[_ssl.SSLContext] = None, types: Optional[Iterable[int]] = None, pushes: bool = False,
            max_body: Optional[int] = None, max_inbound: int = 4 << 20, min_backoff: float = 0.2, max_backoff: float = 30.0,
            stable_after: float = 60.0, connect_timeout: float = 15.0, write_timeout: float = 10.0,
            close_timeout: float = 3.0) -> Connect:
    """Connect to a server and log on: ``async with connect(…) as client``, or ``client = await connect(…)``.

    It tries once, and raises a CloseError when that fails; its ``may_reconnect`` says whether another attempt makes sense. Later the
    client connects again by itself whenever a connection is lost, unless the close code forbids it.

    ``address``: ``tcp://HOST:PORT``, or ``tls://HOST:PORT``, with which the server's certificate is verified, its name too.
    ``user``: the user who logs on; empty if the server finds the user by the token.
    ``token``: a string, or a function, which is called before each logon and each renewal and returns the token or an awaitable of it. It
    must not block. When it raises the attempt fails and is repeated later, unless it raises a CloseError that forbids that.
    ``device``: the device class, 0 to 65535. ``fields``: further fields of the logon.
    ``ca``: a file of PEM certificates to trust in place of the system's. ``ssl``: a context of your own in place of the verifying default.
    ``types``: the message types that the program reads; None is all of the application's. A request of the server of another type is answered
    NoHandler, another message of it is dropped. Read what you ask for: beyond ``max_inbound`` bytes that wait, the client stops reading.
    ``pushes``: whether the program reads pushes; otherwise they are dropped, and not acknowledged.
    ``max_body``: the largest body in bytes, both ways; None is the server's limit.
    ``min_backoff``, ``max_backoff``: before attempt n, from 0, the client waits as long as the server asks, and a random time of up to
    min(max_backoff, min_backoff × 2ⁿ) seconds. ``stable_after``: after so many seconds online n begins at 0 again.
    ``connect_timeout``: for an attempt, with token, TLS and logon. ``write_timeout``: how long the network may take nothing.
    ``close_timeout``: how long ``close`` waits for the server. All in seconds; the first two of these three are more than 0.

    It raises ValueError for a setting that makes no sense, and OSError for a ``ca`` that cannot be read.
    """
    return Connect(Settings(
        address, user=user, token=token, device=device, fields=fields, ca=ca, ssl=ssl, types=types, pushes=pushes, max_body=max_body,
        max_inbound=max_inbound, min_backoff=min_backoff, max_backoff=max_backoff, stable_after=stable_after,
        connect_timeout=connect_timeout, write_timeout=write_timeout, close_timeout=close_timeout))


def check_error_code(code: int) -> None:
    """Raise a ValueError for what is no code of an error reply."""
    if not 3000 <= code <= 0xFFFF:
        raise ValueError("the code of an error reply is from 3000 to 65535")


def _expire(future: asyncio.Future[Message], timeout: float) -> None:
    if not future.done():
        future.set_exception(RequestTimeout(f"no reply within {timeout:g} s"))
