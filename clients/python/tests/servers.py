"""A server that does what a test says. It blocks: call it from another thread where an event loop runs."""

import socket

from frames import accepted, messages
from rollcall import wire

#: How long a test waits for what has to come, in seconds.
PATIENCE = 30


class Server:
    """Listens on a port of this machine."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.address = "tcp://127.0.0.1:%d" % self._listener.getsockname()[1]
        self._peers = []

    def accept(self):
        sock, _ = self._listener.accept()
        peer = Peer(sock)
        self._peers.append(peer)
        return peer

    def session(self, fields=None, user=""):
        """Accept a connection and its logon."""
        peer = self.accept()
        peer.logon = peer.read()
        peer.fields = wire.decode_map(peer.logon.body)
        peer.write(accepted(fields, user))
        return peer

    def close(self):
        self._listener.close()
        for peer in self._peers:
            peer.sock.close()


class Peer:
    """One connection of a client."""

    def __init__(self, sock):
        sock.settimeout(PATIENCE)
        self.sock = sock
        self._came = b""

    def write(self, data):
        self.sock.sendall(data)

    def read(self, beats=False):
        """Return the next message; heartbeats only if they are asked for."""
        while True:
            m, end = wire.decode_frame(self._came, 0, 0)
            if m is None:
                data = self.sock.recv(1 << 16)
                assert data, "the client has ended its side"
                self._came += data
                continue
            self._came = self._came[end:]
            if beats or m.type != wire.HEARTBEAT:
                return m

    def rest(self):
        """Return the messages until the client ends its side."""
        while True:
            data = self.sock.recv(1 << 16)
            if not data:
                return messages(self._came)
            self._came += data

    def leave(self, data=b""):
        """End this side of the connection, after some bytes."""
        self.write(data)
        self.sock.shutdown(socket.SHUT_WR)
