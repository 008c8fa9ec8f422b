"""The client without asyncio, against a server that does what the tests say."""

import concurrent.futures
import signal
import threading
import time
import unittest
import unittest.mock

import rollcall.core
import rollcall.sync
from frames import answer, close, frame, push, push_id, refused
from rollcall import Code, State, wire
from servers import PATIENCE, Server


class Case(unittest.TestCase):
    def setUp(self):
        self.threads = threading.active_count()
        self.server = Server()
        self.helper = concurrent.futures.ThreadPoolExecutor(8)
        self.addCleanup(self.check_threads)
        self.addCleanup(self.helper.shutdown)
        self.addCleanup(self.server.close)

    def check_threads(self):
        self.assertEqual(threading.active_count(), self.threads, "a thread is left")

    def apart(self, function, *arguments):
        """Have another thread do something."""
        return self.helper.submit(function, *arguments)

    def connect(self, told=None, **settings):
        settings = {"user": "alice", "min_backoff": 0.001, "max_backoff": 0.01, "close_timeout": 0.1, **settings}
        peering = self.apart(self.server.session, told)
        client = rollcall.sync.connect(self.server.address, **settings)
        self.addCleanup(client.close)
        return client, peering.result(PATIENCE)

    def until(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), end, "what has to happen has not happened")
            time.sleep(0.005)


class Client(Case):
    def test_messages_and_answers(self):
        c, peer = self.connect()
        peer.write(frame(1, b"a", id=5) + frame(1, b"b", sender="bob"))
        messages = c.messages()
        c.reply(next(messages), b"yes")
        self.assertEqual(next(messages).sender, "bob")
        c.send(2, b"hi", to="bob")
        self.assertEqual([(m.type, m.id, m.to, m.body) for m in (peer.read(), peer.read())], [(1, 5, "", b"yes"), (2, 0, "bob", b"hi")])
        self.assertIn("rollcall.sync", repr(c))

    def test_requests_of_many_threads(self):
        c, peer = self.connect()
        asked = [self.apart(c.request, 1, b"%d" % i) for i in range(4)]
        got = [peer.read() for _ in asked]
        peer.write(b"".join(answer(m, m.body) for m in reversed(got)))
        self.assertEqual([a.result(PATIENCE).body for a in asked], [b"%d" % i for i in range(4)])
        served = self.apart(lambda: peer.write(answer(peer.read(), wire.encode_id_list(["bob"]))))
        self.assertEqual(c.who_is_online(["bob"]), ["bob"])
        served.result(PATIENCE)
        with self.assertRaises(rollcall.RequestTimeout):
            c.request(1, timeout=0.01)

    def test_what_a_thread_sends_keeps_its_order(self):
        c, peer = self.connect(types=(1,))
        peer.write(frame(1, id=9))
        m = next(c.messages())
        for _ in range(20):
            for _ in range(50):
                c.send(2)
            c.reply(m, b"yes")
            c.reply_error(m, 3001, "no")
            asked = self.apart(c.request, 3)
            got = [peer.read() for _ in range(53)]
            self.assertEqual([g.type for g in got], [2] * 50 + [1, 1, 3])
            self.assertEqual([(g.id, g.flags, g.body[:2]) for g in got[50:52]], [(9, 1, b"ye"), (9, 3, b"\x0b\xb9")])
            peer.write(answer(got[52]))
            asked.result(PATIENCE)
        c.send(2)
        c.close()
        self.assertEqual([g.type for g in peer.rest()], [2, wire.CLOSE])

    def test_what_may_not_be_sent(self):
        c, peer = self.connect({"max-body": "100"})
        peer.write(frame(1, id=9) + frame(1))
        messages = c.messages()
        m = next(messages)
        for wrong in (lambda: c.send(0), lambda: c.send(1, to="\0"), lambda: c.reply_error(m, 2999), lambda: c.reply_error(m, 65536)):
            self.assertRaises(ValueError, wrong)
        self.assertRaises(rollcall.TooLarge, c.send, 1, bytes(101))
        self.assertRaises(rollcall.TooLarge, c.reply, m, bytes(101))
        self.assertEqual(wire.decode_close(peer.read().body).code, Code.HANDLER_FAILED)
        c.reply(next(messages), b"for a message that waits for no reply")
        c.send(2)
        self.assertEqual(peer.read().type, 2)

    def test_send_waits_while_the_network_takes_nothing(self):
        c, peer = self.connect(write_timeout=PATIENCE)
        link, do, waiting = c._client._mail.link, c._do, set()

        def note(work):
            waiting.add(threading.get_ident())
            do(work)
            waiting.discard(threading.get_ident())

        c._do = note
        sending = self.apart(lambda: [c.send(1, bytes(1000)) for _ in range(32_000)])
        self.until(lambda: sending.done() or (waiting and link._room is not None))
        self.assertFalse(sending.done(), "many small messages have not waited")
        one = self.apart(c.send, 2)
        self.until(lambda: one.done() or len(waiting) == 2)
        self.assertFalse(one.done(), "one message more has not waited")
        for _ in range(32_001):
            peer.read()
        sending.result(PATIENCE)
        one.result(PATIENCE)

    def test_close_ends_a_send_that_waits(self):
        c, peer = self.connect(write_timeout=PATIENCE)

        def send():
            while True:
                c.send(1, bytes(1000))

        sending = self.apart(send)
        self.until(lambda: c._client._mail.link._room is not None)
        c.close()
        self.assertIsInstance(sending.exception(PATIENCE), rollcall.ClientClosed)

    def test_pushes(self):
        c, peer = self.connect(pushes=True)
        peer.write(push(1) + push(2) + push(3))
        pushes = c.pushes()
        self.assertEqual(next(pushes).id, push_id(1))
        c.send(9)
        self.assertEqual(peer.read().type, 9)
        p = next(pushes)
        self.assertEqual(peer.read().body, push_id(1).bytes)
        c.acknowledge(p)
        self.assertEqual(peer.read().body, push_id(2).bytes)
        next(pushes)
        c.close()
        self.assertEqual([m.type for m in peer.rest()], [wire.CLOSE])

    def test_states_and_the_end(self):
        c, peer = self.connect()
        states, events = c.states(), c.events()
        self.assertEqual(next(states).state, State.ONLINE)
        peer.leave(close(1004))
        self.assertEqual(next(states).reason.code, 1004)
        peer = self.server.session()
        self.assertEqual(next(states).state, State.ONLINE)
        peer.leave(frame(1) + close(2002, "out"))
        self.assertEqual(next(states).reason.text, "out")
        self.assertRaises(StopIteration, next, states)
        self.assertEqual([type(e).__name__ for e in events], ["StateChange"] * 3 + ["Message", "StateChange"])
        with self.assertRaises(rollcall.CloseError):
            next(c.messages())
        self.assertRaises(rollcall.ClientClosed, c.send, 1)
        self.assertEqual((c.state, c.error.code), (State.CLOSED, 2002))

    def test_a_refused_logon_leaves_no_thread(self):
        refusing = self.apart(lambda: self.server.accept().write(refused(2003, "bad token")))
        with self.assertRaises(rollcall.CloseError) as e:
            rollcall.sync.connect(self.server.address, token=lambda: "bad")
        self.assertEqual((e.exception.code, e.exception.text), (2003, "bad token"))
        refusing.result(PATIENCE)
        self.until(lambda: not any(t.name.startswith("rollcall") for t in threading.enumerate()))


class Closing(Case):
    def test_other_threads_go_on(self):
        c, peer = self.connect()
        loops = [self.apart(list, c.messages()), self.apart(list, c.events()), self.apart(list, c.states())]
        asked = self.apart(c.request, 1)
        peer.read()
        c.close()
        c.close()
        self.assertEqual(loops[0].result(PATIENCE), [])
        for loop in loops[1:]:
            self.assertEqual([s.state for s in loop.result(PATIENCE)], [State.ONLINE, State.CLOSED])
        self.assertIsInstance(asked.exception(PATIENCE), rollcall.Disconnected)

    def test_after_the_end(self):
        c, peer = self.connect(pushes=True)
        peer.write(frame(1) * 5 + push(1))
        messages, events, pushes = c.messages(), c.events(), c.pushes()
        next(messages)
        next(pushes)
        c.close()
        self.assertEqual(list(messages), [])
        self.assertEqual(list(pushes), [])
        self.assertEqual([s.state for s in events], [State.ONLINE, State.CLOSED])
        self.assertEqual([s.state for s in c.states()], [State.CLOSED])
        for act in (lambda: c.send(1), lambda: c.request(1), lambda: c.who_is_online(["bob"])):
            self.assertRaises(rollcall.ClientClosed, act)
        self.assertEqual(c.error.code, Code.CLIENT_CLOSED)

    def test_several_threads_close(self):
        c, peer = self.connect()
        for closing in [self.apart(c.close) for _ in range(4)]:
            closing.result(PATIENCE)

    def test_an_interrupt_while_it_connects(self):
        made, main = [], threading.main_thread()

        class Client(rollcall.sync._AsyncClient):
            def __init__(self, settings):
                super().__init__(settings)
                made.append(self)

        def interrupt():
            self.server.accept().read()
            signal.pthread_kill(main.ident, signal.SIGINT)

        interrupting = self.apart(interrupt)
        with unittest.mock.patch.object(rollcall.sync, "_AsyncClient", Client), self.assertRaises(KeyboardInterrupt):
            rollcall.sync.connect(self.server.address, connect_timeout=PATIENCE)
        interrupting.result(PATIENCE)
        self.assertTrue(made[0]._closing.done())
        self.assertEqual(made[0]._links, set())

    def test_without_waiting(self):
        c = rollcall.sync.connect(self.server.address, close_timeout=0.1, wait=False)
        states = c.states()
        self.assertEqual(next(states).state, State.RECONNECTING)
        self.assertRaises(rollcall.NotConnected, c.send, 1)
        self.server.accept().read()
        c.close()
        self.assertEqual([s.reason.code for s in states], [Code.CLIENT_CLOSED])

    def test_without_waiting_for_a_refusal(self):
        c = rollcall.sync.connect(self.server.address, wait=False)
        self.addCleanup(c.close)
        self.server.accept().write(refused(2003))
        self.assertEqual([s.state for s in c.events()], [State.CLOSED])
        self.assertEqual(c.error.code, 2003)


class Tokens(Case):
    def test_a_token_function_that_blocks_stops_no_heartbeat(self):
        release = threading.Event()
        tokens = [lambda: "one", lambda: release.wait(PATIENCE) and "two"]
        c, peer = self.connect({"heartbeat-ms": "100", "expires-ms": "300000"}, token=lambda: tokens.pop(0)())
        c._loop.call_soon_threadsafe(c._client._happened, c._client._mail.link, [rollcall.core.RenewDue()])
        self.until(lambda: not tokens)
        for _ in range(3):
            self.assertEqual(peer.read(beats=True).type, wire.HEARTBEAT)
        release.set()
        self.assertEqual(wire.decode_map(peer.read().body), {"token": "two"})

    def test_a_token_that_is_no_string(self):
        for wrong in (lambda: 5, lambda: 1 / 0):
            with self.assertRaises(rollcall.CloseError) as e:
                rollcall.sync.connect(self.server.address, token=wrong)
            self.assertEqual(e.exception.code, Code.NETWORK_ERROR)


if __name__ == "__main__":
    unittest.main()
