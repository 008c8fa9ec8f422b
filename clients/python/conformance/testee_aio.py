"""The testee of rollcall.aio: docs/writing-a-client.md describes what it speaks."""

import asyncio
import json
import sys
import threading
import traceback

import rollcall
from rollcall import State, StateChange

output = threading.Lock()


def tell(event, **fields):
    with output:
        print(json.dumps({"event": event, **fields}), flush=True)


def settings(c):
    """Return what a dial says, as arguments of connect."""
    s = {"user": c.get("user", ""), "device": c.get("device", 0), "fields": c.get("fields"), "types": c.get("types") or [1], "pushes": True,
         "ca": c.get("ca") or None, "max_body": c.get("max_body") or None}
    for name, ms in (("min_backoff", "min_ms"), ("max_backoff", "max_ms"), ("stable_after", "stable_ms")):
        if c.get(ms):
            s[name] = c[ms] / 1000
    tokens = list(c.get("tokens") or ())
    if tokens:
        s["token"] = lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0]
    return s


def body(c):
    return bytes(c["size"]) if c.get("size") else bytes.fromhex(c.get("body", ""))


def failure(e):
    """Return why a command failed."""
    if isinstance(e, rollcall.ReplyError):
        return {"reason": "refused", "code": e.code, "text": e.text}
    for kind, reason in ((rollcall.RequestTimeout, "timeout"), (rollcall.Disconnected, "disconnected"), (rollcall.NotConnected, "not-connected"),
                         (rollcall.TooLarge, "too-large"), (rollcall.ClientClosed, "closed"), (ValueError, "invalid")):
        if isinstance(e, kind):
            return {"reason": reason}
    raise e


def tell_state(state, error):
    tell("state", state=state, code=error.code, text=error.text, may_reconnect=error.may_reconnect)


def tell_item(item, requests):
    """Tell one item of events()."""
    if isinstance(item, StateChange):
        if item.state is State.ONLINE:
            tell("state", state="online", user=item.user)
        else:
            tell_state(item.state.value, item.reason)
    elif isinstance(item, rollcall.Push):
        tell("push", id=str(item.id), kind=item.kind, name=item.name, time=item.time_ms, confirm=item.confirm, metadata=item.metadata,
             body=item.content.hex())
    elif item.wants_reply:
        requests.append(item)
        tell("request", request=len(requests) - 1, **{"from": item.sender}, type=item.type, body=item.body.hex())
    else:
        tell("message", **{"from": item.sender}, type=item.type, body=item.body.hex())


def texts(client, error):
    """Return all that Python prints of a client, its settings and an error."""
    things = [client, error] + ([client.settings, client.error] if client else [])
    errors = [e for e in things if isinstance(e, BaseException)]
    return "\n".join([f"{t!s} {t!r}" for t in things] + ["".join(traceback.format_exception(type(e), e, e.__traceback__)) for e in errors])


class Testee:
    def __init__(self):
        self.client = self.task = self.error = None
        self.held, self.requests = {}, []

    async def run(self, c):
        """Serve one client, from its dial to its end."""
        try:
            self.client = await rollcall.connect(c["address"], **settings(c))
        except asyncio.CancelledError:
            self.error = rollcall.CloseError(rollcall.Code.CLIENT_CLOSED)
        except rollcall.CloseError as e:
            self.error = e
        except ValueError as e:
            self.error = rollcall.CloseError(rollcall.Code.INVALID_MESSAGE, str(e))
        if self.client is None:
            return tell_state("closed", self.error)
        async for item in self.client.events():
            handled = asyncio.get_running_loop().create_future()
            if isinstance(item, rollcall.Push) and c.get("hold"):
                self.held[str(item.id)] = handled
            else:
                handled.set_result(None)
            if isinstance(item, StateChange):
                self.error = item.reason or self.error
            tell_item(item, self.requests)
            await handled

    async def command(self, c):
        """Carry out a command that has an answer."""
        client, kind, to, timeout = self.client, c.get("type"), c.get("to", ""), c["timeout_ms"] / 1000 if c.get("timeout_ms") else 30
        try:
            if client is None:
                tell("error", tag=c["tag"], reason="not-connected")
            elif c["do"] == "send":
                await client.send(kind, body(c), to=to)
                tell("done", tag=c["tag"])
            elif c["do"] == "request":
                reply = await client.request(kind, body(c), to=to, timeout=timeout)
                tell("reply", tag=c["tag"], **{"from": reply.sender}, body=reply.body.hex())
            elif c["do"] == "online":
                tell("reply", tag=c["tag"], users=await client.who_is_online(c.get("users") or [], timeout=timeout))
            elif c["do"] == "reply" and c.get("code"):
                await client.reply_error(self.requests[c["request"]], c["code"], c.get("text", ""))
            elif c["do"] == "reply":
                await client.reply(self.requests[c["request"]], body(c))
        except (rollcall.RollcallError, ValueError) as e:
            if "tag" in c:
                tell("error", tag=c["tag"], **failure(e))

    async def close(self):
        if self.client is None and self.task:
            self.task.cancel()
        elif self.client:
            await self.client.close()
        for future in self.held.values():
            if not future.done():
                future.set_result(None)
        if self.task:
            await asyncio.wait({self.task})


async def main():
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    tell("ready", language="python", transports=["tcp", "tls"])
    testee, running = Testee(), set()
    while True:
        line = await lines.readline()
        if not line:
            return await testee.close()
        c = json.loads(line)
        if c["do"] == "dial":
            testee.client = testee.error = None
            testee.task = loop.create_task(testee.run(c))
        elif c["do"] == "ack":
            testee.held.pop(c["push"]).set_result(None)
        elif c["do"] == "show":
            tell("shown", tag=c["tag"], text=texts(testee.client, testee.error))
        else:
            task = loop.create_task(testee.close() if c["do"] == "close" else testee.command(c))
            running.add(task)
            task.add_done_callback(running.discard)


if __name__ == "__main__":
    asyncio.run(main())
