"""One connection, with bytes and times that the tests choose."""

import array
import random
import unittest

from frames import accepted, answer, close, frame, messages, push, push_id, refusal, refused
from rollcall import Code, CloseError, Message, NotConnected, Push, ReplyError, TooLarge, wire
from rollcall.core import Connection, Ended, LoggedOn, Replied, RenewDue
from rollcall.settings import Settings


class Case(unittest.TestCase):
    def connect(self, fields=None, **settings):
        """Log on at time 0."""
        settings.setdefault("pushes", True)
        self.conn = Connection(Settings("tcp://localhost:1", user="alice", device=3, **settings), {"token": "t"}, 0.0, random.Random(1))
        self.logon, = self.sent(0.0)
        events = self.conn.receive(accepted(fields, "alice"), 0.0)
        self.assertIsInstance(events[0], LoggedOn)
        return self.conn

    def sent(self, now=0.0):
        return messages(self.conn.take(now))

    def one(self, data, now=0.0):
        """Take bytes that mean one event."""
        event, = self.conn.receive(data, now)
        return event

    def ends(self, data, code, says_goodbye):
        event = self.one(data)
        self.assertIsInstance(event, Ended)
        self.assertEqual((event.reason.code, event.say_goodbye), (code, says_goodbye))
        self.assertEqual([m.type for m in self.sent()], [wire.CLOSE] if says_goodbye else [])
        self.assertEqual(self.conn.receive(frame(1), 0.0) + self.conn.receive_end(), [])
        return event.reason


class Logon(Case):
    def test_the_logon_is_the_first_frame(self):
        self.connect({"session": "s"})
        self.assertEqual((self.logon.type, self.logon.id, self.logon.device, self.logon.sender), (wire.LOGON, 1, 3, "alice"))
        self.assertEqual(wire.decode_map(self.logon.body), {"token": "t"})
        self.assertEqual((self.conn.session, self.conn.user), ("s", "alice"))

    def begin(self):
        self.conn = Connection(Settings("tcp://localhost:1"), {}, 0.0)
        self.sent()

    def test_a_refusal(self):
        self.begin()
        reason = self.ends(refused(2003, "bad", {"retry-ms": "5"}), 2003, False)
        self.assertEqual((reason.text, reason.info), ("bad", {"retry-ms": "5"}))

    def test_a_refusal_without_the_error_flag(self):
        self.begin()
        self.ends(frame(wire.LOGON, wire.encode_close(2003), id=1, flags=wire.REPLY), 2003, False)

    def test_a_close_in_place_of_the_answer(self):
        self.begin()
        self.ends(close(1004), 1004, False)

    def test_what_is_no_answer(self):
        for wrong in (frame(1), frame(wire.LOGON, b"\0\0", id=2, flags=1), frame(wire.LOGON, id=1), frame(wire.LOGON, b"\0", id=1, flags=1),
                      frame(wire.LOGON, wire.encode_close(0), id=1, flags=3)):
            self.begin()
            self.ends(wrong, Code.INVALID_MESSAGE, True)

    def test_nothing_may_be_sent_before_the_answer(self):
        self.begin()
        self.assertRaises(NotConnected, self.conn.send, 1)
        self.assertRaises(NotConnected, self.conn.acknowledge, push_id(1))

    def test_nothing_goes_out_behind_the_close(self):
        c = self.connect()
        late = c.frame(1, b"made before the end, queued behind it")
        c.close(CloseError(1000))
        c.queue([late])
        self.assertEqual([m.type for m in self.sent()], [wire.CLOSE])

    def test_messages_behind_the_answer_in_the_same_bytes(self):
        self.begin()
        events = self.conn.receive(accepted() + frame(1, b"a") + frame(2, b"b"), 0.0)
        self.assertEqual([type(e) for e in events], [LoggedOn, Message, Message])


class Receiving(Case):
    def test_bytes_one_by_one(self):
        self.connect()
        data = frame(1, b"hello", sender="bob") + frame(2)
        events = [e for i in range(len(data)) for e in self.conn.receive(data[i:i + 1], 0.0)]
        self.assertEqual([(e.type, e.sender, e.body) for e in events], [(1, "bob", b"hello"), (2, "", b"")])

    def test_requests_without_a_handler(self):
        self.connect(types=[1])
        self.assertEqual(self.one(frame(1, id=9)).id, 9)
        self.assertEqual(self.conn.receive(frame(2, id=9), 0.0), [])
        m, = self.sent()
        self.assertEqual((m.type, m.id, m.flags, wire.decode_close(m.body).code), (2, 9, 3, Code.NO_HANDLER))

    def test_requests_of_users_and_messages_without_a_handler_are_dropped(self):
        self.connect(types=[1])
        self.assertEqual(self.conn.receive(frame(2, id=9, sender="bob") + frame(2) + frame(0xFF08, id=3) + frame(0xFF77, id=3), 0.0), [])
        self.assertEqual(self.sent(), [])

    def test_optional_types_are_handed_out_where_they_are_asked_for(self):
        self.connect(types=[1, 0xFF09])
        self.assertEqual(self.one(frame(0xFF09, b"x")).body, b"x")
        self.connect()
        self.assertEqual(self.conn.receive(frame(0xFF09, b"x"), 0.0), [])

    def test_heartbeats_are_answered(self):
        self.connect()
        self.assertEqual(self.conn.receive(frame(wire.HEARTBEAT, id=77) + frame(wire.HEARTBEAT), 0.0), [])
        m, = self.sent()
        self.assertEqual((m.type, m.id, m.flags), (wire.HEARTBEAT, 77, wire.REPLY))

    def test_pushes(self):
        self.connect()
        p = self.one(push(1, b"x"))
        self.assertEqual((type(p), p.id, p.content, p.confirm), (Push, push_id(1), b"x", True))
        self.connect(pushes=False)
        self.assertEqual(self.conn.receive(push(1), 0.0), [])

    def test_the_server_closes(self):
        self.connect()
        self.assertEqual(self.ends(close(2002, "out"), 2002, False).text, "out")

    def test_the_stream_ends(self):
        for data, text in ((b"", "without a Close"), (frame(1)[:9], "within a frame")):
            self.connect()
            self.conn.receive(data, 0.0)
            event, = self.conn.receive_end()
            self.assertEqual(event.reason.code, Code.NETWORK_ERROR)
            self.assertIn(text, event.reason.text)

    def test_mistakes_of_the_server(self):
        for wrong, code in ((b"HTTP/1.1 400", 2004), (push(1)[:-1] + b"\1", 2004), (frame(wire.CLOSE, b"\0"), 2004),
                            (b"\x52\x10\0\1\xff\xff\xff\xf0" + bytes(8), 2006)):
            self.connect()
            self.ends(wrong, code, True)

    def test_messages_before_a_mistake_count(self):
        self.connect()
        events = self.conn.receive(frame(1) + b"?", 0.0)
        self.assertEqual([type(e) for e in events], [Message, Ended])


class Limits(Case):
    def test_a_body_of_max_body_comes_and_goes(self):
        self.connect({"max-body": "2000000"})
        self.assertEqual(len(self.one(frame(1, bytes(2000000))).body), 2000000)
        self.conn.send(1, bytes(2000000))
        self.assertRaises(TooLarge, self.conn.send, 1, bytes(2000001))
        self.assertRaises(TooLarge, self.conn.request, 1, bytes(2000001))
        self.assertFalse(self.conn.waits)
        self.ends(frame(1, bytes(2000001)), Code.MESSAGE_TOO_LARGE, True) if self.sent() else self.fail("nothing was sent")

    def test_a_mebibyte_without_max_body(self):
        for told in ({}, {"max-body": "1e3"}, {"max-body": "٣"}):
            self.connect(told)
            self.assertEqual(self.conn.max_body, 1 << 20)

    def test_a_small_max_body_of_the_server(self):
        self.connect({"max-body": "10"})
        self.assertRaises(TooLarge, self.conn.send, 1, bytes(11))
        self.assertEqual(len(self.one(frame(1, bytes(1 << 20))).body), 1 << 20)

    def test_a_max_body_of_the_program(self):
        self.connect({"max-body": "100"}, max_body=10)
        self.assertRaises(TooLarge, self.conn.send, 1, bytes(11))
        self.assertEqual(len(self.one(frame(1, bytes(100))).body), 100)
        self.assertEqual(self.one(close(1004, "x" * 5000)).reason.code, 1004)

    def test_a_frame_that_says_too_much_costs_no_memory(self):
        self.connect({"max-body": str(1 << 50)})
        self.assertEqual(self.conn.receive(frame(1)[:4] + b"\xff\xff\xff\xf0" + bytes(8), 0.0), [])


class Requests(Case):
    def ask(self, **to):
        id = self.conn.request(1, b"?", **to)
        m, = self.sent()
        self.assertEqual(m.id, id)
        return m

    def test_replies_in_another_order(self):
        self.connect()
        a, b = self.ask(), self.ask()
        for m in (b, a):
            event = self.one(answer(m, b"yes"))
            self.assertEqual((type(event), event.id, event.outcome.body), (Replied, m.id, b"yes"))
        self.assertFalse(self.conn.waits)
        self.assertEqual(self.conn.receive(answer(a), 0.0), [])

    def test_an_error_reply(self):
        self.connect()
        outcome = self.one(refusal(self.ask(to="bob"), 5000, "offline")).outcome
        self.assertEqual((type(outcome), outcome.code, outcome.text), (ReplyError, 5000, "offline"))

    def test_an_error_reply_that_is_broken(self):
        self.connect()
        m = self.ask()
        outcome = self.one(frame(1, b"\1", id=m.id, flags=3)).outcome
        self.assertEqual((type(outcome), outcome.code), (ReplyError, Code.INVALID_MESSAGE))

    def test_replies_of_others_are_dropped(self):
        self.connect()
        m = self.ask(to="bob")
        self.assertEqual(self.conn.receive(answer(m, sender="carol") + frame(2, id=m.id, flags=1), 0.0), [])
        self.assertEqual(self.one(answer(m, b"yes", sender="bob")).outcome.sender, "bob")
        m = self.ask()
        self.assertEqual(self.conn.receive(answer(m, sender="bob"), 0.0), [])
        m = self.ask(to="_0")
        self.assertEqual(self.one(answer(m)).id, m.id)

    def test_ids_begin_at_random_and_leave_out_0_and_open_ones(self):
        begins = {Connection(Settings("tcp://localhost:1"), {}, 0.0)._last_id for _ in range(5)}
        self.assertEqual(len(begins), 5)
        self.connect()
        self.conn._last_id = 0xFFFFFFFE
        first = self.conn.request(1)
        second = self.conn.request(1)
        self.conn._last_id = 0xFFFFFFFE
        third = self.conn.request(1)
        self.assertEqual((first, second, third), (0xFFFFFFFF, 1, 2))

    def test_what_may_not_be_sent(self):
        self.connect()
        for kind, to in ((0, ""), (0xFF00, ""), (0xFFFF, ""), (0xFF05, ""), (0xFF0A, ""), (0xFF09, "bob"), (1, "a\nb"), (1, "x" * 256), (0x10000, "")):
            with self.assertRaises(ValueError):
                self.conn.request(kind, b"", to=to)
        self.conn.send(0xFF09, b"x", to="_0")
        self.assertEqual(len(self.sent()), 1)
        self.assertFalse(self.conn.waits)

    def test_bodies_of_other_types_count_by_their_bytes(self):
        c = self.connect({"max-body": "16"})
        for body in (bytearray(b"12345678"), memoryview(b"1_2_3_4_5_6_7_8_")[::2], array.array("I", [0x34333231, 0x38373635])):
            c.send(1, body)
            self.assertEqual([m.body for m in self.sent()], [b"12345678"])
        self.assertRaises(TooLarge, c.send, 1, array.array("Q", range(3)))
        for wrong in ("text", 5, [1]):
            self.assertRaises(TypeError, c.send, 1, wrong)
        self.assertEqual(self.sent(), [])

    def test_who_is_online(self):
        self.connect()
        id = self.conn.ask_who_is_online(["carol", "bob"])
        m, = self.sent()
        self.assertEqual(wire.decode_id_list(m.body), ["carol", "bob"])
        self.assertEqual(self.one(answer(m, wire.encode_id_list(["bob"]))).id, id)
        self.assertRaises(ValueError, self.conn.ask_who_is_online, ["u"] * 1001)


class Closing(Case):
    def test_the_program_closes(self):
        self.connect()
        self.conn.send(1, b"last")
        event = self.conn.close(CloseError(Code.CLIENT_CLOSED))
        self.assertTrue(event.say_goodbye)
        last, goodbye = self.sent()
        self.assertEqual((last.body, wire.decode_close(goodbye.body).code), (b"last", 1000))
        self.assertRaises(NotConnected, self.conn.send, 1)


class Heartbeats(Case):
    def run_until(self, end, heard=()):
        """Let time go on by deadlines; the server says something at the times in heard. Return when what was sent, and the end."""
        now, sent, heard = 0.0, [], sorted(heard)
        for _ in range(10_000):
            due = self.conn.deadline(now)
            if heard and heard[0] <= due:
                now = heard.pop(0)
                self.conn.receive(frame(wire.HEARTBEAT), now)
                continue
            if due > end:
                return sent, None
            now = due
            events = self.conn.tick(now)
            sent += [(round(now, 3), m.id != 0) for m in self.sent(now)]
            if events:
                return sent, (round(now, 3), events[0].reason.code)
        self.fail("time stands still")

    def test_a_server_that_is_heard(self):
        self.connect({"heartbeat-ms": "2000"})
        sent, end = self.run_until(9.9, heard=[x / 2 for x in range(20)])
        self.assertEqual(sent, [(2.0, False), (4.0, False), (6.0, False), (8.0, False)])
        self.assertIsNone(end)

    def test_a_server_that_is_gone(self):
        self.connect({"heartbeat-ms": "2000"})
        sent, end = self.run_until(60)
        self.assertEqual(sent, [(2.0, True), (4.0, True)])
        self.assertEqual(end, (6.0, Code.NETWORK_ERROR))

    def test_what_the_program_sends_counts(self):
        self.connect({"heartbeat-ms": "2000"})
        self.conn.receive(frame(1), 1.9)
        self.conn.send(1)
        self.conn.take(1.9)
        self.assertEqual(self.conn.deadline(1.9), 3.9)

    def test_bounds(self):
        for told, seconds in (({}, 10), ({"heartbeat-ms": "0"}, 10), ({"heartbeat-ms": "no"}, 10), ({"heartbeat-ms": "1"}, 0.1),
                              ({"heartbeat-ms": "-5"}, 10), ({"heartbeat-ms": "9" * 5000}, 10 * 365 * 86400)):
            self.connect(told)
            self.assertEqual(self.conn.heartbeat, seconds)

    def test_short_intervals_leave_the_server_3_s(self):
        self.connect({"heartbeat-ms": "100"})
        self.assertEqual(self.run_until(10)[1][0], 3.0)

    def test_a_standstill_of_this_process(self):
        self.connect({"heartbeat-ms": "2000"})
        self.conn.deadline(0.0)
        self.assertEqual(self.conn.tick(500.0), [])
        ask, = self.sent(500.0)
        self.assertNotEqual(ask.id, 0)
        self.assertEqual(self.conn.deadline(500.0), 502.0)
        self.assertEqual(self.conn.tick(502.0)[0].reason.code, Code.NETWORK_ERROR)

    def test_a_standstill_behind_a_question(self):
        self.connect({"heartbeat-ms": "2000"})
        self.assertEqual(self.run_until(5)[0], [(2.0, True), (4.0, True)])
        self.assertEqual(self.conn.deadline(4.0), 6.0)
        self.assertEqual(self.conn.tick(6.5), [])  # the answer may have come, and not be read yet
        ask, = self.sent(6.5)
        self.assertNotEqual(ask.id, 0)
        self.assertEqual(self.conn.deadline(6.5), 8.5)
        self.assertEqual(self.conn.tick(8.5)[0].reason.code, Code.NETWORK_ERROR)

    def test_silence_while_the_program_does_not_read(self):
        self.connect({"heartbeat-ms": "2000"})
        self.conn.pause(True, 1.0)
        sent, end = self.run_until(60)
        self.assertIsNone(end)
        self.assertGreater(len(sent), 20)
        self.conn.pause(False, 60.0)
        self.assertEqual(self.conn.deadline(60.0), 62.0)


class Renewal(Case):
    def due(self, now):
        events = self.conn.tick(now)
        self.sent(now)
        return [type(e) for e in events] == [RenewDue]

    def renew(self, now):
        self.conn.renew({"token": "fresh"}, now)
        return self.sent(now)[-1]

    def test_a_quarter_is_left_at_least(self):
        for seed in range(50):
            self.connect({"expires-ms": "100000", "heartbeat-ms": "1000000"})
            self.conn._rng = random.Random(seed)
            self.conn._set_expiry(100.0, 0.0)
            self.assertTrue(60 <= self.conn.deadline(0.0) <= 75)

    def test_renewed(self):
        self.connect({"expires-ms": "100000", "heartbeat-ms": "1000000"})
        self.assertFalse(self.due(59.0))
        self.assertTrue(self.due(76.0))
        m = self.renew(76.0)
        self.assertEqual((m.type, wire.decode_map(m.body), m.device), (wire.RENEW, {"token": "fresh"}, 3))
        self.assertEqual(self.conn.receive(answer(m, b"\0\0" + wire.encode_map({"expires-ms": "10000"})), 77.0), [])
        self.assertFalse(self.due(82.0))
        self.assertTrue(self.due(84.6))
        self.assertEqual(self.conn.receive(answer(self.renew(84.6), b"\0\0"), 85.0), [])
        self.assertFalse(self.due(1e6))

    def test_refused(self):
        for code, again in ((2003, False), (2004, False), (4001, False), (5001, False), (1008, True), (5003, True), (3001, True)):
            self.connect({"expires-ms": "100000", "heartbeat-ms": "1000000"})
            self.assertTrue(self.due(76.0))
            self.conn.receive(refusal(self.renew(76.0), code), 76.0)
            self.assertEqual(self.due(80.0), again, code)

    def test_no_answer(self):
        self.connect({"expires-ms": "100000", "heartbeat-ms": "1000000"})
        self.assertTrue(self.due(76.0))
        self.renew(76.0)
        self.assertFalse(self.due(90.0))
        self.assertTrue(self.due(91.1))

    def test_no_token(self):
        self.connect({"expires-ms": "100000", "heartbeat-ms": "1000000"})
        self.assertTrue(self.due(76.0))
        self.conn.renewal_failed(76.0)
        self.assertTrue(self.due(79.1))
        self.conn.renewal_failed(101.0)
        self.assertFalse(self.due(1e6))


if __name__ == "__main__":
    unittest.main()
