"""What the tests of the client for asyncio share."""

import asyncio
import unittest

import rollcall
from servers import PATIENCE, Server


def apart(function, *arguments):
    """Have another thread do what blocks."""
    return asyncio.get_running_loop().run_in_executor(None, function, *arguments)


class Case(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        self.logged = []

    async def connect(self, told=None, **settings):
        """Return a client and the server's side of its connection."""
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 1e9  # which a busy machine would exceed
        loop.set_exception_handler(lambda _, what: self.logged.append(what))
        settings.setdefault("user", "alice")
        settings.setdefault("min_backoff", 0.001)
        settings.setdefault("max_backoff", 0.01)
        settings.setdefault("close_timeout", 0.1)  # most tests leave the server's side as it is
        self.peering = apart(self.server.session, told)
        self.client = await rollcall.connect(self.server.address, **settings)
        self.addAsyncCleanup(self.end, self.client)
        return self.client, await self.peering

    async def end(self, client):
        await self.soon(client.close())

    def tearDown(self):
        self.assertEqual(self.logged, [])

    async def soon(self, awaitable):
        return await asyncio.wait_for(awaitable, PATIENCE)

    async def until(self, condition):
        for _ in range(PATIENCE * 100):
            if condition():
                return
            await asyncio.sleep(0.01)
        self.fail("what has to happen has not happened")
