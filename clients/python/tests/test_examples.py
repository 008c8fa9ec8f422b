"""What the README shows, and the terminal program, run."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

import rollcall.sync
from frames import answer, close, frame, push
from rollcall import wire
from servers import PATIENCE, Server

# A program that is started in the background of a script ignores SIGINT, and so would those that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = pathlib.Path(__file__).parents[1]


def blocks():
    """Return the README's blocks of Python."""
    return re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text("utf-8"), re.S)


class Case(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)

    def start(self, *command):
        environment = {**os.environ, "PYTHONPATH": str(HERE / "src"), "ROLLCALL_TOKEN": "t:7", "PYTHONUNBUFFERED": "1"}
        program = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.stdin.close)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        return program


class Readme(Case):
    def test_the_first_program(self):
        code = blocks()[0].replace("tcp://localhost:9000", self.server.address)
        self.assertIn(self.server.address, code)
        program = self.start("-c", code)
        peer = self.server.session()
        self.assertEqual((peer.logon.sender, peer.fields), ("alice", {"token": "t:7"}))
        m = peer.read()
        self.assertEqual((m.type, m.body), (1, b"hello"))
        peer.write(answer(m, b"welcome") + frame(1, b"are you there?", id=9, sender="bob"))
        m = peer.read()
        self.assertEqual((m.flags, m.id, m.to, m.body), (wire.REPLY, 9, "bob", b"ok"))
        self.assertEqual(program.stdout.readline(), "the server says welcome\n")
        self.assertEqual(program.stdout.readline(), "bob says are you there?\n")
        program.send_signal(signal.SIGINT)
        self.assertEqual(wire.decode_close(peer.rest()[-1].body).code, rollcall.Code.CLIENT_CLOSED)

    def test_the_plain_one(self):
        program = self.start("-c", "import rollcall.sync\ndef fresh_token(): return 't'\n"
                             + blocks()[1].replace("tcp://localhost:9000", self.server.address))
        peer = self.server.session()
        peer.write(frame(1, b"?", id=9))
        m = peer.read()
        self.assertEqual((m.flags, m.id, m.body), (wire.REPLY, 9, b"ok"))
        program.send_signal(signal.SIGINT)
        self.assertEqual(peer.rest()[-1].type, wire.CLOSE)

    def test_the_calls_in_the_table_are_there(self):
        for name in set(re.findall(r"\bc\.(\w+)\(", (HERE / "README.md").read_text("utf-8"))):
            self.assertTrue(hasattr(rollcall.Client, name) and hasattr(rollcall.sync.Client, name), name)


class Terminal(Case):
    def test_it_talks(self):
        program = self.start(str(HERE / "examples" / "terminal.py"), self.server.address, "alice")
        self.assertLess(len((HERE / "examples" / "terminal.py").read_text("utf-8").splitlines()), 100)
        peer = self.server.session()
        self.assertEqual(peer.fields, {"token": "t:7"})

        def line(wanted):
            self.assertEqual(program.stdout.readline().rstrip("\n"), wanted)

        def type_in(text):
            program.stdin.write(text + "\n")
            program.stdin.flush()
        line("* online as alice")
        type_in("bob hello there")
        m = peer.read()
        self.assertEqual((m.to, m.body), ("bob", b"hello there"))
        peer.write(answer(m))
        type_in("? bob carol")
        m = peer.read()
        self.assertEqual(wire.decode_id_list(m.body), ["bob", "carol"])
        peer.write(answer(m, wire.encode_id_list(["bob"])))
        line("* online: bob")
        peer.write(frame(1, b"hi\x1b[2J", id=4, sender="bob"))
        line("bob: hi\\x1b[2J")
        self.assertEqual(peer.read().body, b"read")
        peer.write(push(1, b"news"))
        line("! push: news")
        type_in("bob")
        line('* write "USER TEXT", or "? USER …"')
        program.stdin.close()
        self.assertEqual([m.type for m in peer.rest()], [wire.PUSH_ACK, wire.CLOSE])
        peer.sock.close()
        line("* closed: ClientClosed: the program closed the client")
        self.assertEqual(program.wait(PATIENCE), 0)

    def test_it_ends_with_the_client(self):
        program = self.start(str(HERE / "examples" / "terminal.py"), self.server.address, "alice")
        peer = self.server.session()
        self.assertEqual(program.stdout.readline(), "* online as alice\n")
        peer.leave(close(2002, "enough"))
        self.assertEqual(list(program.stdout), ["* closed: KickedOut: enough\n"])
        self.assertEqual(program.wait(PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()
