"""The client for asyncio, against a server that does what the tests say."""

import asyncio
import unittest

import rollcall
from aiocase import Case, apart
from frames import accepted, answer, close, frame, push, push_id, refusal, refused
from rollcall import Code, State, wire
from servers import PATIENCE


class Requests(Case):
    async def test_many_at_a_time(self):
        c, peer = await self.connect()

        def serve():
            asked = [peer.read() for _ in range(100)]
            peer.write(b"".join(answer(m, m.body + b"!") for m in reversed(asked)))
        served = apart(serve)
        replies = await self.soon(asyncio.gather(*(c.request(1, b"%d" % i) for i in range(100))))
        self.assertEqual([r.body for r in replies], [b"%d!" % i for i in range(100)])
        await served

    async def test_an_error_reply(self):
        c, peer = await self.connect()
        served = apart(lambda: peer.write(refusal(peer.read(), 5000, "bob is offline")))
        with self.assertRaises(rollcall.ReplyError) as e:
            await c.request(1, to="bob")
        self.assertEqual((e.exception.code, e.exception.text, e.exception.may_reconnect), (5000, "bob is offline", False))
        await served

    async def test_a_time_limit(self):
        c, peer = await self.connect()
        with self.assertRaises(TimeoutError) as e:
            await c.request(1, timeout=0.01)
        self.assertIsInstance(e.exception, rollcall.RequestTimeout)
        m = await apart(peer.read)
        peer.write(answer(m) + frame(1, b"next"))
        async for message in c.messages():
            self.assertEqual(message.body, b"next")
            break

    async def test_a_request_that_is_given_up(self):
        c, peer = await self.connect()
        task = asyncio.create_task(c.request(1))
        m = await apart(peer.read)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertFalse(c._mail.link.conn.waits)
        peer.write(refusal(m, 5000))

    async def test_the_connection_is_lost(self):
        c, peer = await self.connect()
        task = asyncio.create_task(c.request(1))
        await apart(peer.read)
        peering = apart(self.server.session)
        peer.leave(close(1004, "stopping"))
        with self.assertRaises(rollcall.Disconnected) as e:
            await self.soon(task)
        self.assertEqual((e.exception.code, e.exception.may_reconnect), (1004, True))
        await peering

    async def test_who_is_online(self):
        c, peer = await self.connect()
        served = apart(lambda: peer.write(answer(peer.read(), wire.encode_id_list(["bob"]))))
        self.assertEqual(await c.who_is_online(["carol", "bob"]), ["bob"])
        await served
        served = apart(lambda: peer.write(answer(peer.read(), b"\0")))
        with self.assertRaises(rollcall.ReplyError):
            await c.who_is_online(["bob"])
        await served

    async def test_answers(self):
        c, peer = await self.connect({"max-body": "100"})
        peer.write(frame(1, b"a", id=7, sender="bob") + frame(1, b"b", id=8) + frame(1, b"c", id=9) + frame(1, b"d"))
        messages = c.messages()
        m = await messages.__anext__()
        self.assertTrue(m.wants_reply)
        await c.reply(m, b"yes")
        await c.reply_error(await messages.__anext__(), 3001, "no")
        m = await messages.__anext__()
        with self.assertRaises(rollcall.TooLarge):
            await c.reply(m, bytes(101))
        with self.assertRaises(ValueError):
            await c.reply_error(m, Code.KICKED_OUT)
        await c.reply(await messages.__anext__(), b"nobody waits")
        await c.close()
        got = await apart(peer.rest)
        self.assertEqual([(m.id, m.flags, m.to) for m in got], [(7, 1, "bob"), (8, 3, ""), (9, 3, ""), (0, 0, "")])
        self.assertEqual([wire.decode_close(m.body).code for m in got[1:]], [3001, Code.HANDLER_FAILED, Code.CLIENT_CLOSED])


class Reconnecting(Case):
    async def test_states_and_errors(self):
        c, peer = await self.connect({"session": "s1"}, token="t")
        states = c.states()
        self.assertEqual((await states.__anext__()).state, State.ONLINE)
        peer.leave(close(1004, "stopping", {"retry-ms": "1"}))
        change = await self.soon(states.__anext__())
        self.assertEqual((change.state, change.reason.code, change.reason.info), (State.RECONNECTING, 1004, {"retry-ms": "1"}))
        with self.assertRaises(rollcall.NotConnected):
            await c.send(1)
        peer = await apart(self.server.accept)
        logon = await apart(peer.read)
        self.assertEqual(wire.decode_map(logon.body), {"token": "t", "session": "s1"})
        peer.leave(refused(1006, "full"))
        change = await self.soon(states.__anext__())
        self.assertEqual((change.state, change.reason.code), (State.RECONNECTING, 1006))
        peer = await apart(self.server.session, {"session": "s2"})
        self.assertEqual((await self.soon(states.__anext__())).state, State.ONLINE)
        self.assertIsNone(c.error)
        peer.leave(close(2002, "out"))
        change = await self.soon(states.__anext__())
        self.assertEqual((change.state, change.reason.code), (State.CLOSED, 2002))
        with self.assertRaises(StopAsyncIteration):
            await states.__anext__()
        with self.assertRaises(rollcall.ClientClosed) as e:
            await c.send(1)
        self.assertEqual((e.exception.code, c.error.text, c.state), (2002, "out", State.CLOSED))

    async def test_loops_raise_why_the_client_has_ended(self):
        c, peer = await self.connect(pushes=True)
        peer.leave(frame(1, b"last") + close(2000))
        messages = c.messages()
        self.assertEqual((await self.soon(messages.__anext__())).body, b"last")
        for loop in (messages, c.messages(), c.pushes()):
            with self.assertRaises(rollcall.CloseError) as e:
                await self.soon(loop.__anext__())
            self.assertEqual(e.exception.code, 2000)

    async def test_events_in_order(self):
        c, peer = await self.connect(pushes=True)
        peer.leave(frame(1, b"a") + push(1, b"b") + frame(1, b"c") + close(2000))
        kinds = [type(e).__name__ async for e in c.events()]
        self.assertEqual(kinds, ["StateChange", "Message", "Push", "Message", "StateChange"])

    async def test_tokens(self):
        tokens = ["one", "two"]

        async def token():
            await asyncio.sleep(0)
            if not tokens:
                raise rollcall.CloseError(4001, "no more")
            return tokens.pop(0)
        c, peer = await self.connect(token=token)
        self.assertEqual(peer.fields["token"], "one")
        peer.leave()
        peer = await apart(self.server.session)
        self.assertEqual(peer.fields["token"], "two")
        peer.leave()
        await self.until(lambda: c.state is State.CLOSED)
        self.assertEqual(c.error.code, 4001)

    async def test_a_token_function_that_fails(self):
        outcomes = [lambda: 1 / 0, lambda: None, lambda: "\ud800secret", lambda: 5, lambda: "good"]
        with self.assertRaises(rollcall.CloseError) as e:
            await rollcall.connect(self.server.address, token=lambda: 1 / 0)
        self.assertEqual(e.exception.code, Code.NETWORK_ERROR)
        self.assertIsInstance(e.exception.__cause__, ZeroDivisionError)
        turns = iter([lambda: "first"] + outcomes)
        c, peer = await self.connect(token=lambda: next(turns)())
        states = c.states()
        peer.leave()
        peering = apart(self.server.session)
        reasons = []
        async for change in states:
            reasons.append(str(change.reason))
            if len(reasons) > 2 and change.state is State.ONLINE:
                break
        self.assertEqual((await peering).fields, {"token": "good"})
        self.assertNotIn("secret", "".join(reasons))
        self.assertEqual(len(reasons), 2 + len(outcomes))

    async def test_a_renewal(self):
        tokens = iter(["one", "two"])
        c, peer = await self.connect({"expires-ms": "200", "session": "s"}, token=lambda: next(tokens), fields={"room": "1"})
        m = await apart(peer.read)
        self.assertEqual((m.type, wire.decode_map(m.body)), (wire.RENEW, {"token": "two", "room": "1"}))

    async def test_a_renewal_ends_with_its_connection(self):
        begun, ended = asyncio.Event(), asyncio.Event()

        async def token():
            if not c:
                return "one"
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        c = None
        c, peer = await self.connect({"expires-ms": "200"}, token=token, min_backoff=1000, max_backoff=1000)
        await self.soon(begun.wait())
        peer.leave(close(1004))
        await self.soon(ended.wait())
        self.assertIs(c.state, State.RECONNECTING)

    async def test_the_last_words_before_a_failed_write(self):
        c, peer = await self.connect()
        c._mail.link._transport.pause_reading()  # so that the write fails before the Close is read
        peer.write(close(2002, "out"))
        peer.sock.close()
        for _ in range(PATIENCE * 100):
            if c.state is not State.ONLINE:
                break
            await c.send(1, b"x")
            await asyncio.sleep(0.01)
        self.assertEqual((c.state, c.error and c.error.code), (State.CLOSED, 2002))


class Pushes(Case):
    async def acks(self, peer, *numbers):
        for number in numbers:
            m = await apart(peer.read)
            self.assertEqual((m.type, m.body), (wire.PUSH_ACK, push_id(number).bytes))

    async def fence(self, c, peer):
        """Check that nothing was sent before this."""
        await c.send(9, b"fence")
        m = await apart(peer.read)
        self.assertEqual(m.body, b"fence")

    async def test_acknowledged_behind_the_turn_of_the_loop(self):
        c, peer = await self.connect(pushes=True)
        peer.write(push(1) + push(2, confirm=False) + push(3))
        pushes = c.pushes()
        self.assertEqual((await pushes.__anext__()).id, push_id(1))
        await self.fence(c, peer)
        self.assertEqual((await pushes.__anext__()).id, push_id(2))
        await self.acks(peer, 1)
        self.assertEqual((await pushes.__anext__()).id, push_id(3))
        await self.fence(c, peer)

    async def test_twice(self):
        c, peer = await self.connect(pushes=True)
        peer.write(push(1) + push(1) + push(2))
        got = []
        async for p in c.pushes():
            got.append(p.id)
            if len(got) == 2:
                await c.acknowledge(p)
                await c.acknowledge(p)
                break
        self.assertEqual(got, [push_id(1), push_id(2)])
        await self.acks(peer, 1, 1, 2)
        await self.fence(c, peer)

    async def test_over_reconnects(self):
        c, peer = await self.connect(pushes=True)
        peer.write(push(1))
        pushes = c.pushes()
        await self.soon(pushes.__anext__())
        peer.leave()
        await self.until(lambda: c.state is State.RECONNECTING)
        waiting = asyncio.create_task(pushes.__anext__())
        await asyncio.sleep(0)
        peer = await apart(self.server.session)
        await self.acks(peer, 1)
        peer.write(push(1) + push(2))
        self.assertEqual((await self.soon(waiting)).id, push_id(2))
        await self.acks(peer, 1)

    async def test_a_close_with_the_logons_answer_loses_no_acknowledgement(self):
        c, peer = await self.connect(pushes=True)
        peer.write(push(1))
        pushes = c.pushes()
        p = await self.soon(pushes.__anext__())
        peer.leave()
        await self.until(lambda: c.state is State.RECONNECTING)
        await c.acknowledge(p)
        peer = await apart(self.server.accept)
        await apart(peer.read)
        peer.leave(accepted() + close(1004))
        peer = await apart(self.server.session)
        await self.acks(peer, 1)

    async def test_a_loop_that_fails_acknowledges_nothing(self):
        c, peer = await self.connect(pushes=True)
        peer.write(push(1))
        with self.assertRaises(ZeroDivisionError):
            async for p in c.pushes():
                raise ZeroDivisionError
        await self.fence(c, peer)
        peer.write(push(1, b"again"))
        self.assertEqual((await self.soon(c.pushes().__anext__())).content, b"again")
        await self.fence(c, peer)

    async def test_a_push_whose_turn_is_not_over_when_the_client_is_closed(self):
        c, peer = await self.connect(pushes=True)
        peer.write(push(1))
        async for p in c.pushes():
            await c.close()
        self.assertEqual([m.type for m in await apart(peer.rest)], [wire.CLOSE])

    async def test_1024_are_remembered(self):
        c, peer = await self.connect(pushes=True)
        got = []

        async def read():
            async for p in c.pushes():
                got.append(p.time_ms or p.id)
        reading = asyncio.create_task(read())
        peer.write(b"".join(push(n) for n in range(1, 1026)) + push(2) + push(1))
        await self.until(lambda: len(got) == 1026)
        self.assertEqual(got[-1], push_id(1))
        reading.cancel()


class Waiting(Case):
    async def test_loops_that_stop_waiting_leave_nothing(self):
        c, peer = await self.connect()
        for wait in (c.messages, c.events, c.states) * 10:
            loop = wait()
            with self.assertRaises(asyncio.TimeoutError):
                while True:
                    await asyncio.wait_for(loop.__anext__(), 0.01)
        self.assertEqual(len(c._mail._arrivals), 0)


class Behind(Case):
    async def test_a_program_that_is_behind_stops_the_server(self):
        c, peer = await self.connect({"heartbeat-ms": "100"}, max_inbound=1 << 20)
        written = apart(peer.write, b"".join(frame(1, bytes(1 << 16)) for _ in range(50)))
        await self.until(lambda: not c._mail.link._reading)
        self.assertLess(c._mail._inbox.size, 2 << 20)
        asked = asyncio.create_task(c.request(1))
        await written  # the reply comes behind that, so the client reads on
        served = apart(lambda: peer.write(answer(peer.read(), b"late")))
        self.assertEqual((await self.soon(asked)).body, b"late")
        n = 0
        async for m in c.messages():
            n += 1
            if n == 50:
                break
        await served
        self.assertTrue(c._mail.link._reading)

    async def test_too_much_while_a_request_waits(self):
        c, peer = await self.connect(max_inbound=1000)
        states = c.states()
        await states.__anext__()
        asked = asyncio.create_task(c.request(1))
        await apart(peer.read)
        peer.write(frame(1, bytes(5000)))
        change = await self.soon(states.__anext__())
        self.assertEqual((change.state, change.reason.code), (State.RECONNECTING, Code.RATE_LIMITED))
        with self.assertRaises(rollcall.Disconnected):
            await asked

    async def test_a_network_that_takes_nothing(self):
        c, peer = await self.connect(write_timeout=0.1)
        states = c.states()
        await states.__anext__()

        async def fill():
            while c.state is State.ONLINE:
                await c.send(1, bytes(1 << 20))
        try:
            await self.soon(fill())
        except rollcall.NotConnected:
            pass
        change = await self.soon(states.__anext__())
        self.assertIn("took nothing", change.reason.text)


if __name__ == "__main__":
    unittest.main()
