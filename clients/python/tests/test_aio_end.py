"""How a client for asyncio begins and ends, against a server that does what the tests say."""

import asyncio
import unittest
import unittest.mock

import rollcall
from aiocase import Case, apart
from frames import frame
from rollcall import Code, State, wire
from servers import PATIENCE


class Closing(Case):
    async def test_nothing_is_left(self):
        before = asyncio.all_tasks()
        c, peer = await self.connect({"expires-ms": "100000"})
        waiting = [asyncio.create_task(c.messages().__anext__()), asyncio.create_task(c.request(1)), asyncio.create_task(c.states().__anext__())]
        await asyncio.sleep(0)
        link = c._mail.link
        ended = apart(peer.rest)
        await c.send(1, b"last")
        await self.soon(asyncio.gather(c.close(), c.close()))
        await c.close()
        self.assertEqual([m.type for m in await ended], [1, 1, wire.CLOSE])
        outcomes = await self.soon(asyncio.gather(*waiting, return_exceptions=True))
        self.assertEqual([type(o) for o in outcomes], [StopAsyncIteration, rollcall.Disconnected, rollcall.StateChange])
        self.assertTrue(link.closed.done() and link._transport.is_closing())
        self.assertEqual(asyncio.all_tasks(), before)
        self.assertEqual((c.state, c.error.code), (State.CLOSED, Code.CLIENT_CLOSED))
        with self.assertRaises(rollcall.ClientClosed):
            await c.request(1)

    async def test_the_server_has_time_to_end_its_side(self):
        c, peer = await self.connect(close_timeout=10 * PATIENCE)
        link = c._mail.link
        closing = asyncio.create_task(c.close())
        self.assertEqual([m.type for m in await apart(peer.rest)], [wire.CLOSE])  # which waits for the end of the client's side
        self.assertFalse(link._transport.is_closing() or closing.done())
        peer.leave()
        await self.soon(closing)

    async def test_a_program_that_is_behind_sees_the_servers_end(self):
        c, peer = await self.connect(max_inbound=1000, close_timeout=10 * PATIENCE)

        def serve():
            peer.write(bytes(frame(1, bytes(1000))) * 10_000)
            while peer.read().type != wire.CLOSE:
                pass
            peer.leave()
        served = apart(serve)
        await self.until(lambda: not c._mail.link._reading)
        await self.soon(c.close())
        await served

    async def test_a_server_that_does_not_end_its_side(self):
        c, peer = await self.connect(close_timeout=0.05)
        await self.soon(c.close())
        self.assertEqual((await apart(peer.read)).type, wire.CLOSE)

    async def test_what_was_not_read_is_thrown_away(self):
        c, peer = await self.connect()
        peer.write(frame(1) * 10)
        await self.until(lambda: c._mail._inbox.size == 160)
        await c.close()
        self.assertEqual([m async for m in c.messages()], [])

    async def test_while_it_reconnects(self):
        c, peer = await self.connect(min_backoff=1000, max_backoff=1000)
        peer.leave()
        await self.until(lambda: c.state is State.RECONNECTING)
        await self.soon(c.close())
        self.assertEqual(c.error.code, Code.CLIENT_CLOSED)

    async def test_connect_is_given_up(self):
        before = asyncio.all_tasks()
        connecting = asyncio.create_task(rollcall.connect(self.server.address).__aenter__())
        peer = await apart(self.server.accept)
        await apart(peer.read)
        connecting.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await connecting
        self.assertEqual(await apart(peer.rest), [])
        self.assertEqual(asyncio.all_tasks(), before)

    async def test_connect_takes_too_long(self):
        with self.assertRaises(rollcall.CloseError) as e:
            await self.soon(rollcall.connect(self.server.address, connect_timeout=0.05))
        self.assertEqual((e.exception.code, e.exception.may_reconnect), (Code.NETWORK_ERROR, True))

    async def test_a_logon_that_is_accepted_as_the_time_is_over(self):
        attempt = rollcall.Client._attempt

        async def slow(client):
            await attempt(client)
            await asyncio.sleep(2)

        with unittest.mock.patch.object(rollcall.Client, "_attempt", slow):
            c, peer = await self.connect(connect_timeout=1)
        self.assertIs(c.state, State.ONLINE)
        await c.send(1)
        self.assertEqual((await apart(peer.read)).type, 1)

    async def test_no_server(self):
        self.server.close()
        with self.assertRaises(rollcall.CloseError) as e:
            await rollcall.connect(self.server.address)
        self.assertIsInstance(e.exception.__cause__, OSError)

    async def test_a_host_that_is_no_name(self):
        with self.assertRaises(rollcall.CloseError) as e:
            await rollcall.connect("tcp://a..b:1")
        self.assertEqual(e.exception.code, Code.NETWORK_ERROR)

    async def test_no_secret_is_printed(self):
        c, peer = await self.connect({"session": "secret"}, token="secret")
        states = c.states()
        peer.leave()
        peering = apart(self.server.session)
        texts = [repr(c), str(c), repr(c.settings), repr(c.__class__)] + [repr(await self.soon(states.__anext__())) for _ in range(3)]
        self.assertNotIn("secret", "".join(texts))
        self.assertEqual((await peering).fields, {"token": "secret", "session": "secret"})


if __name__ == "__main__":
    unittest.main()
