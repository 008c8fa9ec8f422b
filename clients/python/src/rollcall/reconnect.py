"""When and where to connect again: the rules of docs/protocol.md, "Closing, and coming back", without input, output or a clock."""

from __future__ import annotations

import random
from typing import Optional

from .core import number
from .errors import CloseError, Code
from .settings import Settings

#: The exponent of the backoff goes no higher.
MOST_DOUBLINGS = 8
#: A server's retry-ms counts up to an hour.
MOST_RETRY_MS = 3_600_000


def retry_after(reason: CloseError) -> float:
    """Return the least time in seconds that the server asks to wait."""
    return (number(reason.info.get("retry-ms"), MOST_RETRY_MS) or 0) / 1000


class Reconnector:
    """Decides about the attempts of one client. All times are in seconds on a clock that never goes back."""

    def __init__(self, settings: Settings, rng: Optional[random.Random] = None) -> None:
        self.target = settings.address  #: where the next attempt goes to
        self._settings = settings
        self._rng = rng or random.SystemRandom()
        self._attempt = 0
        self._online_since = self._lost_at = 0.0
        self._patience = 0.0

    def online(self, now: float, heartbeat: float) -> None:
        """Take note that a logon was accepted, with this heartbeat interval in seconds."""
        self._online_since = now
        self._patience = 3 * heartbeat

    def lost(self, reason: CloseError, now: float) -> Optional[float]:
        """Return how long to wait before the first attempt after a connection was lost; None if there must be none."""
        if now - self._online_since >= self._settings.stable_after:
            self._attempt = 0
        self._lost_at = now
        if not reason.may_reconnect:
            return None
        return self._wait(reason)

    def failed(self, reason: CloseError, now: float) -> Optional[float]:
        """Return how long to wait before the next attempt after one has failed; None if there must be none.

        AlreadyLoggedOn may be about this client's own dead connection, until the server has noticed that one.
        """
        own_ghost = reason.code == Code.ALREADY_LOGGED_ON and now - self._lost_at < self._patience
        if not reason.may_reconnect and not own_ghost:
            return None
        self.target = self._settings.address
        return self._wait(reason)

    def _wait(self, reason: CloseError) -> float:
        named = reason.info.get("address")
        if named:
            self.target = self.target.moved(named) or self.target
        limit = min(self._settings.max_backoff, self._settings.min_backoff * 2 ** min(self._attempt, MOST_DOUBLINGS))
        self._attempt += 1
        return retry_after(reason) + self._rng.uniform(0, limit)
