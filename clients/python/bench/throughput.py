#!/usr/bin/env python3
"""How many messages of 128 bytes a client sends and receives at the same time, on one core.

    python3 throughput.py [--sync] [-n MESSAGES]

The other side is a process of its own on another core, which gives back what it gets.
"""

import argparse
import asyncio
import multiprocessing
import os
import socket
import threading
import time

import rollcall
import rollcall.sync
from rollcall import wire

BODY = bytes(128)


def give_back(listener):
    """Accept one client, log it on, and send it all that it sends."""
    pin(1)
    sock, _ = listener.accept()
    came = b""
    while wire.decode_frame(came, 0, 0)[0] is None:
        came += sock.recv(1 << 16)
    sock.sendall(wire.encode_frame(wire.Message(wire.LOGON, b"\0\0", id=1, flags=wire.REPLY)))
    while True:
        data = sock.recv(1 << 18)
        if not data:
            return
        sock.sendall(data)


def pin(core):
    """Run on one core from now on, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


async def measure(address, n):
    async with rollcall.connect(address) as c:
        async def send():
            for i in range(n):
                await c.send(1, BODY)
                if i % 256 == 0:
                    await asyncio.sleep(0)  # let the client read
        began = time.perf_counter()
        sending = asyncio.create_task(send())
        received = 0
        async for _ in c.messages():
            received += 1
            if received == n:
                break
        await sending
        return time.perf_counter() - began


def measure_sync(address, n):
    with rollcall.sync.connect(address) as c:
        def send():
            for _ in range(n):
                c.send(1, BODY)
        began = time.perf_counter()
        sending = threading.Thread(target=send)
        sending.start()
        for received, _ in enumerate(c.messages(), 1):
            if received == n:
                break
        sending.join()
        return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sync", action="store_true", help="measure the client without asyncio")
    parser.add_argument("-n", type=int, default=100_000, help="messages each way")
    arguments = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    other = multiprocessing.Process(target=give_back, args=(listener,))
    other.start()
    pin(0)
    address = "tcp://127.0.0.1:%d" % listener.getsockname()[1]
    took = measure_sync(address, arguments.n) if arguments.sync else asyncio.run(measure(address, arguments.n))
    other.join()
    name = "rollcall.sync" if arguments.sync else "rollcall.aio"
    print(f"{name}: {arguments.n / took:,.0f} messages/s each way")


if __name__ == "__main__":
    main()
