"""What a program says about its client, checked."""

from __future__ import annotations

import re
import ssl as _ssl
from typing import Awaitable, Callable, FrozenSet, Iterable, Mapping, NamedTuple, Optional, Union
from urllib.parse import urlsplit

from . import wire

#: A token, or a function that returns one. The function is called before each logon and each renewal.
Token = Union[str, Callable[[], Union[str, Awaitable[str]]], None]

_PORT = re.compile("[0-9]{1,5}")


class Address(NamedTuple):
    """Where a server listens, and whether it speaks TLS."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'tcp'}://{host}:{self.port}"

    @classmethod
    def parse(cls, address: str) -> Address:
        """Read ``tcp://HOST:PORT`` or ``tls://HOST:PORT``, or raise a ValueError.

        The error's text does not repeat the address, which may have a secret in it.
        """
        try:
            url = urlsplit(address)
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        if (not host or not port or url.scheme not in ("tcp", "tls") or "@" in url.netloc or url.path or "?" in address or "#" in address
                or not _PORT.fullmatch(url.netloc.rpartition(":")[2]) or any(c <= " " for c in address)):
            raise ValueError("the address is not tcp://HOST:PORT or tls://HOST:PORT")
        return cls(host, port, url.scheme == "tls")

    def moved(self, host_port: str) -> Optional[Address]:
        """Return the address that a server has named, with the same kind of connection as this one; None if it is no host and port."""
        try:
            return Address.parse(f"{'tls' if self.tls else 'tcp'}://{host_port}")
        except ValueError:
            return None


class Settings:
    """The settings of a client, as ``rollcall.connect`` describes them. It prints without the token and the values of the fields."""

    def __init__(self, address: str, *, user: str = "", token: Token = None, device: int = 0, fields: Optional[Mapping[str, str]] = None,
                 ca: Optional[str] = None, ssl: Optional[_ssl.SSLContext] = None, types: Optional[Iterable[int]] = None, pushes: bool = False,
                 max_body: Optional[int] = None, max_inbound: int = 4 << 20, min_backoff: float = 0.2, max_backoff: float = 30.0,
                 stable_after: float = 60.0, connect_timeout: float = 15.0, write_timeout: float = 10.0, close_timeout: float = 3.0) -> None:
        self.address = Address.parse(address)
        self.user = user
        self.token = token
        self.device = device
        self.fields = dict(fields or {})
        self.types: Optional[FrozenSet[int]] = None if types is None else frozenset(types)
        self.pushes = pushes
        self.max_body = max_body
        self.max_inbound = max_inbound
        self.min_backoff = min_backoff
        self.max_backoff = max_backoff
        self.stable_after = stable_after
        self.connect_timeout = connect_timeout
        self.write_timeout = write_timeout
        self.close_timeout = close_timeout
        self._check()
        if not self.address.tls and (ca is not None or ssl is not None):
            raise ValueError("ca and ssl are for tls:// addresses")
        if ca is not None and ssl is not None:
            raise ValueError("ca and ssl exclude each other")
        self.ssl = (ssl or _default_context(ca)) if self.address.tls else None

    def _check(self) -> None:
        if self.user:
            wire.encode_user_id(self.user)
            if self.user.startswith("_"):
                raise ValueError("the user ID is reserved: it begins with an underscore")
        if self.token is not None and not isinstance(self.token, str) and not callable(self.token):
            raise ValueError("the token is neither a string nor a function")
        if not 0 <= self.device <= 0xFFFF:
            raise ValueError("the device class is not from 0 to 65535")
        for kind in self.types or ():
            if not 0 < kind < wire.FIRST_SYSTEM_TYPE and kind not in wire.OPTIONAL_TYPES:
                raise ValueError(f"{kind} in types is no message type of the application")
        if self.max_body is not None and self.max_body < 1:
            raise ValueError("max_body is less than 1")
        if self.max_inbound < 1:
            raise ValueError("max_inbound is less than 1")
        if self.min_backoff < 0 or self.max_backoff < self.min_backoff:
            raise ValueError("min_backoff is negative, or max_backoff is less than it")
        if not (self.connect_timeout > 0 and self.write_timeout > 0 and self.close_timeout >= 0 and self.stable_after >= 0):
            raise ValueError("connect_timeout or write_timeout is not more than 0, or close_timeout or stable_after is negative")
        wire.encode_map(self.fields)

    def takes(self, kind: int) -> bool:
        """Say whether the program takes messages of this type."""
        if self.types is None:
            return kind < wire.FIRST_SYSTEM_TYPE
        return kind in self.types

    def __repr__(self) -> str:
        return f"<Settings {self.address} user={self.user!r} device={self.device} fields={sorted(self.fields)}>"


def _default_context(ca: Optional[str]) -> _ssl.SSLContext:
    """Return TLS settings that verify the chain and the name. ``ca`` replaces the system's authorities."""
    context = _ssl.create_default_context(cafile=ca)
    context.minimum_version = _ssl.TLSVersion.TLSv1_2
    return context
