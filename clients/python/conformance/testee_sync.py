"""The testee of rollcall.sync: docs/writing-a-client.md describes what it speaks."""

import json
import sys
import threading

import rollcall.sync
from rollcall import StateChange
from testee_aio import body, failure, settings, tell, tell_item, tell_state, texts


class Testee:
    def __init__(self):
        self.client = self.thread = self.error = None
        self.held, self.requests = {}, []

    def run(self, c):
        """Serve one client, from its dial to its end."""
        try:
            self.client = rollcall.sync.connect(c["address"], wait=False, **settings(c))
        except ValueError as e:
            return tell_state("closed", rollcall.CloseError(rollcall.Code.INVALID_MESSAGE, str(e)))
        for item in self.client.events():
            handled = threading.Event()
            if isinstance(item, rollcall.Push) and c.get("hold"):
                self.held[str(item.id)] = handled
            else:
                handled.set()
            if isinstance(item, StateChange):
                self.error = item.reason or self.error
            tell_item(item, self.requests)
            handled.wait()

    def command(self, c):
        """Carry out a command that has an answer."""
        client, kind, to, timeout = self.client, c.get("type"), c.get("to", ""), c["timeout_ms"] / 1000 if c.get("timeout_ms") else 30
        try:
            if client is None:
                tell("error", tag=c["tag"], reason="not-connected")
            elif c["do"] == "send":
                client.send(kind, body(c), to=to)
                tell("done", tag=c["tag"])
            elif c["do"] == "request":
                reply = client.request(kind, body(c), to=to, timeout=timeout)
                tell("reply", tag=c["tag"], **{"from": reply.sender}, body=reply.body.hex())
            elif c["do"] == "online":
                tell("reply", tag=c["tag"], users=client.who_is_online(c.get("users") or [], timeout=timeout))
            elif c["do"] == "reply" and c.get("code"):
                client.reply_error(self.requests[c["request"]], c["code"], c.get("text", ""))
            elif c["do"] == "reply":
                client.reply(self.requests[c["request"]], body(c))
        except (rollcall.RollcallError, ValueError) as e:
            if "tag" in c:
                tell("error", tag=c["tag"], **failure(e))

    def close(self):
        if self.thread is None:
            return
        while self.client is None and self.thread.is_alive():
            self.thread.join(0.01)
        if self.client:
            self.client.close()
        for handled in self.held.values():
            handled.set()
        self.thread.join()


def main():
    tell("ready", language="python-sync", transports=["tcp", "tls"])
    testee = Testee()
    for line in sys.stdin:
        c = json.loads(line)
        if c["do"] == "dial":
            testee.client = testee.error = None
            testee.thread = threading.Thread(target=testee.run, args=(c,))
            testee.thread.start()
        elif c["do"] == "ack":
            testee.held.pop(c["push"]).set()
        elif c["do"] == "show":
            tell("shown", tag=c["tag"], text=texts(testee.client, testee.error))
        elif c["do"] in ("send", "reply"):  # in their order
            testee.command(c)
        else:
            work = (testee.close, ()) if c["do"] == "close" else (testee.command, (c,))
            threading.Thread(target=work[0], args=work[1]).start()
    testee.close()


main()
