"""Every vector of protocol/testdata/vectors.txt, whose first lines say what its columns are."""

import pathlib
import random
import unittest
import uuid

from rollcall import Code, CloseError, wire
from rollcall.core import Connection, LOGON_ID
from rollcall.settings import Settings

VECTORS = pathlib.Path(__file__).parents[3] / "protocol" / "testdata" / "vectors.txt"


def read(kind):
    """Return the columns of all lines of a kind, behind the kind."""
    lines = [line.split("\t") for line in VECTORS.read_text("utf-8").split("\n") if line and not line.startswith("#")]
    return [line[1:] for line in lines if line[0] == kind]


def text(encoded):
    return bytes.fromhex(encoded).decode("utf-8")


def string_map(encoded):
    return {text(k): text(v) for k, v in (pair.split("=") for pair in encoded.split(",") if pair)}


def id_list(encoded):
    return [text(user) for user in encoded.split(",") if user]


def raw(encoded):
    """Return HEX, or HEX*N, as a string, in which bytes that are no UTF-8 are halves of surrogate pairs."""
    part, _, times = encoded.partition("*")
    return (bytes.fromhex(part) * int(times or 1)).decode("utf-8", "surrogateescape")


class Vectors(unittest.TestCase):
    def each(self, kind, least, check):
        """Call check with the columns of each line of a kind, of which there are so many at least."""
        lines = read(kind)
        self.assertGreaterEqual(len(lines), least)
        for line in lines:
            with self.subTest(line[0]):
                check(*line[1:])

    def code(self, function, *arguments):
        with self.assertRaises(CloseError) as e:
            function(*arguments)
        return e.exception.code

    def test_frame(self):
        def check(_direction, max_body, max_frame, frame, kind, flags, id, device, user, dest, body):
            data = bytes.fromhex(frame)
            for buffer, at in ((data, 0), (bytearray(b"x" + data + b"y"), 1)):
                m, end = wire.decode_frame(buffer, at, int(max_body), int(max_frame))
                self.assertEqual(end, at + len(data))
                self.assertEqual((m.type, m.flags, m.id, m.device), (int(kind), int(flags), int(id), int(device)))
                self.assertEqual((m.sender, m.to, m.body), (text(user), text(dest), bytes.fromhex(body)))
            self.assertEqual(wire.encode_frame(m), data)
            self.assert_whole_frame_is_needed(data, int(max_body), int(max_frame))

        self.each("frame", 100, check)

    def assert_whole_frame_is_needed(self, data, max_body, max_frame):
        for n in {0, 1, 8, 15, 16, 17, len(data) - 1, random.randrange(len(data))}:
            if n < len(data):
                m, need = wire.decode_frame(data[:n], 0, max_body, max_frame)
                self.assertIsNone(m)
                self.assertTrue(n < need <= len(data))

    def test_refused(self):
        def check(_direction, max_body, max_frame, frame, code, at):
            data, limits = bytes.fromhex(frame), (int(max_body), int(max_frame))
            for n in range(int(at), len(data) + 1):
                self.assertEqual(self.code(wire.decode_frame, data[:n], 0, *limits), int(code), n)
            for n in range(int(at)):
                self.assertIsNone(wire.decode_frame(data[:n], 0, *limits)[0], n)

        self.each("refused", 30, check)

    def test_unfinished(self):
        def check(_direction, max_body, max_frame, frame, need):
            self.assertEqual(wire.decode_frame(bytes.fromhex(frame), 0, int(max_body), int(max_frame)), (None, int(need)))

        self.each("unfinished", 7, check)

    def test_map(self):
        def check(body, fields):
            self.assertEqual(wire.decode_map(bytes.fromhex(body)), string_map(fields))
            self.assertEqual(wire.encode_map(string_map(fields)).hex(), body or "00")

        self.each("map", 8, check)

    def test_logon_reply(self):
        def check(body, fields):
            self.assertEqual(wire.decode_logon_reply(bytes.fromhex(body)), string_map(fields))

        self.each("logon-reply", 6, check)

    def test_close(self):
        def check(body, code, reason, info):
            e = wire.decode_close(bytes.fromhex(body))
            self.assertEqual((e.code, e.text, e.info), (int(code), text(reason), string_map(info)))

        self.each("close", 13, check)

    def test_push(self):
        def check(body, id, kind, name, confirm, time_ms, metadata, content):
            p = wire.decode_push(bytes.fromhex(body))
            self.assertEqual((str(p.id), p.kind, p.name, p.confirm), (id, int(kind), text(name), confirm == "1"))
            self.assertEqual((p.time_ms, p.metadata, p.content), (int(time_ms), string_map(metadata), bytes.fromhex(content)))

        self.each("push", 12, check)

    def test_id_list(self):
        def check(body, users):
            self.assertEqual(wire.decode_id_list(bytes.fromhex(body)), id_list(users))
            self.assertEqual(wire.encode_id_list(id_list(users)).hex(), body)

        self.each("id-list", 5, check)

    def test_bad_body(self):
        parsers = {"map": wire.decode_map, "push": wire.decode_push, "id-list": wire.decode_id_list}
        def check(body, what, code):
            if what in parsers:
                self.assertEqual(self.code(parsers[what], bytes.fromhex(body)), int(code))
            else:
                self.assertEqual(what, "push-ack")  # which servers read, and clients only write

        self.each("bad-body", 45, check)

    def test_encode(self):
        """What the client writes by itself or for the program is, byte for byte, what the vectors say."""
        def check(what, kind, flags, id, device, user, dest, argument, reason, info, frame):
            body = {
                "message": lambda: bytes.fromhex(argument), "reply": lambda: bytes.fromhex(argument),
                "logon": lambda: wire.encode_map(string_map(argument)), "renew": lambda: wire.encode_map(string_map(argument)),
                "close": lambda: wire.encode_close(int(argument), text(reason), string_map(info)),
                "error-reply": lambda: wire.encode_close(int(argument), text(reason), string_map(info)),
                "push-ack": lambda: uuid.UUID(argument).bytes, "who-is-online": lambda: wire.encode_id_list(id_list(argument)),
                "heartbeat": lambda: b"", "heartbeat-reply": lambda: b"",
            }[what]()
            m = wire.Message(int(kind), body, sender=text(user), to=text(dest), id=int(id), device=int(device), flags=int(flags))
            self.assertEqual(wire.encode_frame(m).hex(), frame)
            if what == "logon" and int(id) == LOGON_ID:
                settings = Settings("tcp://localhost:1", user=text(user), device=int(device))
                self.assertEqual(Connection(settings, string_map(argument), 0.0).take(0.0).hex(), frame)

        self.each("encode", 27, check)

    def send(self, what, value):
        """Give the client something to send, as a program would."""
        if what == "user":
            Settings("tcp://localhost:1", user=value)
        elif what in ("key", "value"):
            Settings("tcp://localhost:1", fields={value: ""} if what == "key" else {"k": value})
        else:
            conn = Connection(Settings("tcp://localhost:1"), {}, 0.0)
            conn.receive(wire.encode_frame(wire.Message(wire.LOGON, b"\0\0", id=LOGON_ID, flags=wire.REPLY)), 0.0)
            if what == "dest":
                conn.send(1, b"", to=value)
            else:
                self.assertEqual(what, "listed")
                conn.ask_who_is_online([value])

    def test_unsendable(self):
        def check(what, value):
            if (what, value) in (("user", ""), ("dest", "")):
                self.send(what, raw(value))  # in this client they mean that the token says who it is, and the server
                return
            with self.assertRaises(ValueError) as e:
                self.send(what, raw(value))
            self.assertIs(type(e.exception), ValueError)  # a UnicodeEncodeError would carry the text

        self.each("unsendable", 50, check)

    def test_sendable(self):
        def check(what, value):
            self.send(what, raw(value))

        self.each("sendable", 30, check)

    def test_every_kind_of_line_has_a_test(self):
        kinds = {line.split("\t")[0] for line in VECTORS.read_text("utf-8").split("\n") if line and not line.startswith("#")}
        tested = {name[5:].replace("_", "-") for name in dir(self) if name.startswith("test_")} | {"push-ack"}
        self.assertLessEqual(kinds, tested)
        self.assertEqual([line[2] for line in read("push-ack")], [str(uuid.UUID(hex=line[1])) for line in read("push-ack")])


if __name__ == "__main__":
    unittest.main()
