"""What is left after 1,000 reconnects."""

import asyncio
import gc
import os
import tracemalloc
import unittest

import rollcall
import rollcall.core
from frames import accepted, close, frame, push

RECONNECTS = 1000


async def serve(reader, writer):
    """Log a client on, send it something, and close."""
    try:
        header = await reader.readexactly(16)
        await reader.readexactly(int.from_bytes(header[4:8], "big"))
        writer.write(accepted({"session": "s", "expires-ms": "60000"}) + frame(1, bytes(1000)) + push(1) + close(1004))
        await writer.drain()
        await reader.read()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def sockets():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


class Leak(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # which keeps the stack of each task

    async def test_reconnects(self):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = "tcp://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        online, before = 0, (0, 0, 0)
        async with rollcall.connect(address, token=lambda: "t", pushes=True, min_backoff=0, max_backoff=0) as c:
            async for event in c.events():
                if not isinstance(event, rollcall.StateChange) or event.state is not rollcall.State.ONLINE:
                    continue
                online += 1
                if online == 100:
                    tracemalloc.start()
                    before = self.measure()
                if online == 100 + RECONNECTS:
                    break
            memory, tasks, files = self.measure()
            self.assertLess(memory - before[0], 500_000)
            self.assertLess(tasks - before[1], 20)
            self.assertLess(files - before[2], 20)
        tracemalloc.stop()
        server.close()

    def measure(self):
        gc.collect()
        return tracemalloc.get_traced_memory()[0], len(asyncio.all_tasks()), sockets()

    def test_a_client_that_nothing_refers_to_is_freed(self):
        async def one():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            async with rollcall.connect("tcp://127.0.0.1:%d" % server.sockets[0].getsockname()[1]):
                pass
            server.close()
        asyncio.run(one())
        gc.collect()
        self.assertEqual([o for o in gc.get_objects() if isinstance(o, (rollcall.Client, rollcall.core.Connection))], [])


if __name__ == "__main__":
    unittest.main()
