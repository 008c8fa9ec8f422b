#!/usr/bin/env python3
"""Talk to other users in a terminal.

    ROLLCALL_TOKEN=t:7 python3 terminal.py tls://localhost:9000 alice --ca cert.pem

A line "bob hello" is sent to bob, "? bob carol" asks who is online, and what comes is shown. It ends with the input, or with Ctrl-C.
"""

import argparse
import asyncio
import os
import sys

import rollcall
from rollcall import State, StateChange

CHAT = 1


def shown(text):
    """Return a text of others so that it cannot change the terminal."""
    return text.encode("unicode_escape").decode() if not text.isprintable() else text


def describe(event):
    if isinstance(event, StateChange):
        return f"* online as {event.user}" if event.state is State.ONLINE else f"* {event.state.value}: {event.reason}"
    if isinstance(event, rollcall.Push):
        return f"! {event.name or 'push'}: {shown(event.content.decode('utf-8', 'replace'))}"
    return f"{shown(event.sender) or '*'}: {shown(event.body.decode('utf-8', 'replace'))}"


async def show(client):
    """Print what comes, until the client has ended."""
    async for event in client.events():
        print(describe(event), flush=True)
        if isinstance(event, rollcall.Message) and event.wants_reply:
            await client.reply(event, b"read")


async def carry_out(client, line):
    """Do what a line of the input says."""
    user, _, text = line.partition(" ")
    try:
        if user == "?":
            print("* online:", ", ".join(await client.who_is_online(text.split())) or "none of them", flush=True)
        elif text:
            await client.request(CHAT, text.encode(), to=user, timeout=5)
        elif user:
            print('* write "USER TEXT", or "? USER …"', flush=True)
    except (rollcall.RollcallError, ValueError) as e:
        print(f"* not delivered: {e}", flush=True)


async def main(arguments):
    async with rollcall.connect(arguments.address, user=arguments.user, token=lambda: os.environ.get("ROLLCALL_TOKEN", ""), ca=arguments.ca,
                                types=[CHAT], pushes=True) as client:
        showing = asyncio.create_task(show(client))
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while True:
            reading = asyncio.create_task(lines.readline())
            await asyncio.wait({showing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() or not reading.result():
                reading.cancel()
                break
            await carry_out(client, reading.result().decode("utf-8", "replace").strip())
    await showing


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Talk to other users.")
    parser.add_argument("address", help="tcp://HOST:PORT or tls://HOST:PORT")
    parser.add_argument("user")
    parser.add_argument("--ca", help="a file of certificates to trust, in PEM")
    try:
        asyncio.run(main(parser.parse_args()))
    except KeyboardInterrupt:
        pass
    except rollcall.RollcallError as e:
        sys.exit(f"terminal: {e}")
