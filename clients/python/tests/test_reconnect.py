"""When and where a client connects again."""

import ssl
import unittest

from rollcall import CloseError, Code
from rollcall.reconnect import Reconnector
from rollcall.settings import Address, Settings

CONTEXT = ssl.create_default_context()  # it takes long to make


class Highest:
    """Random numbers that are as high as they may be."""

    def uniform(self, least, most):
        return most


class Lowest:
    def uniform(self, least, most):
        return least


def lost(code=Code.NETWORK_ERROR, **info):
    return CloseError(code, "", {k.replace("_", "-"): v for k, v in info.items()})


class Reconnecting(unittest.TestCase):
    def begin(self, rng=None, heartbeat=10.0, **settings):
        r = Reconnector(Settings("tls://a.net:1", ssl=CONTEXT, **settings), rng or Highest())
        r.online(0.0, heartbeat)
        return r

    def test_the_class_of_the_code_decides(self):
        for code, again in ((1000, True), (1001, True), (1010, True), (1999, True), (2000, False), (2001, False), (2003, False), (2999, False),
                            (3000, True), (3999, True), (4000, False), (4999, False), (5000, False), (5999, False), (6000, False), (0, False),
                            (999, False), (65535, False)):
            self.assertEqual(self.begin().lost(lost(code), 1.0) is not None, again, code)
            r = self.begin()
            r.lost(lost(), 1.0)
            if code != Code.ALREADY_LOGGED_ON:
                self.assertEqual(r.failed(lost(code), 2.0) is not None, again, code)

    def test_the_waits_double_up_to_the_most(self):
        r = self.begin()
        waits = [r.lost(lost(), 1.0)] + [r.failed(lost(), 1.0) for _ in range(9)]
        self.assertEqual([round(w, 3) for w in waits], [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])

    def test_the_exponent_is_8_at_most(self):
        r = self.begin(min_backoff=0.001, max_backoff=1e9)
        waits = [r.lost(lost(), 1.0)] + [r.failed(lost(), 1.0) for _ in range(5000)]
        self.assertEqual(round(max(waits), 4), 0.256)

    def test_the_jitter_is_full_and_even(self):
        settings = Settings("tcp://a.net:1", min_backoff=1.0)
        waits = sorted(Reconnector(settings).lost(lost(), 1.0) for _ in range(2000))
        self.assertTrue(0 <= waits[0] and waits[-1] <= 1)
        distance = max(abs(w - i / 2000) for i, w in enumerate(waits))
        self.assertLess(distance, 0.06)  # Kolmogorov and Smirnov: once in 10^6 runs

    def test_a_stable_connection_begins_anew(self):
        r = self.begin()
        for now in (1.0, 2.0, 3.0):
            r.lost(lost(), now)
        r.online(10.0, 10.0)
        self.assertEqual(r.lost(lost(), 69.9), 1.6)
        r.online(100.0, 10.0)
        self.assertEqual(r.lost(lost(), 160.0), 0.2)

    def test_retry_ms_comes_first_and_is_an_hour_at_most(self):
        for told, least in (("5000", 5), ("3600001", 3600), ("9" * 5000, 3600), ("-5", 0), ("0x10", 0), ("٣", 0), (" 5", 0), ("", 0), ("1_0", 0)):
            self.assertEqual(self.begin(Lowest()).lost(lost(retry_ms=told), 1.0), least, told)
        r = self.begin()
        r.lost(lost(), 1.0)
        self.assertEqual(r.failed(lost(retry_ms="1000"), 1.0), 1.4)

    def test_already_logged_on_may_be_the_own_ghost(self):
        r = self.begin(heartbeat=2.0)
        r.lost(lost(), 100.0)
        self.assertIsNotNone(r.failed(lost(2001), 105.9))
        self.assertIsNone(r.failed(lost(2001), 106.0))
        self.assertIsNone(self.begin().lost(lost(2001), 1.0))

    def test_another_address_keeps_the_rest(self):
        r = self.begin()
        r.lost(lost(address="b.net:2"), 1.0)
        self.assertEqual(r.target, Address("b.net", 2, True))
        r.failed(lost(address="[::1]:3"), 1.0)
        self.assertEqual(r.target, Address("::1", 3, True))
        r.failed(lost(), 1.0)
        self.assertEqual(r.target, Address("a.net", 1, True))

    def test_an_address_that_is_none_is_ignored(self):
        for named in ("tcp://b.net:2", "b.net", "b.net:0", "b.net:70000", ":5", "u@b.net:2", "b.net:2/x", "b.net:2?x", "b.net:2#", "b.net:x", "b c:1",
                      "b.net:+2", "b.net:2\n"):
            r = self.begin()
            r.lost(lost(address=named), 1.0)
            self.assertEqual(r.target, Address("a.net", 1, True), named)


class Addresses(unittest.TestCase):
    def test_good(self):
        for text in ("tcp://localhost:9000", "tls://[::1]:1", "tls://10.0.0.1:65535"):
            self.assertEqual(str(Address.parse(text)), text)

    def test_bad(self):
        for text in ("localhost:9000", "ws://a:1", "tcp://a", "tcp://:1", "tcp://user:secret@a:1", "tls://a:1/x", "tls://a:1?token=secret", "tls://a:1#x", ""):
            with self.assertRaises(ValueError) as e:
                Address.parse(text)
            self.assertNotIn("secret", str(e.exception))


class Checked(unittest.TestCase):
    def test_settings_that_make_no_sense(self):
        for wrong in ({"user": "_x"}, {"user": "a\0"}, {"token": 5}, {"device": -1}, {"device": 65536}, {"types": [0]}, {"types": [0xFF00]}, {"max_body": 0},
                      {"max_inbound": 0}, {"min_backoff": -1}, {"min_backoff": 2, "max_backoff": 1}, {"connect_timeout": 0},
                      {"write_timeout": 0}, {"close_timeout": -1}, {"stable_after": -1}, {"connect_timeout": float("nan")}, {"fields": {"": "x"}}, {"fields": {"a": 5}},
                      {"ca": "x.pem"}):
            with self.assertRaises(ValueError, msg=str(wrong)):
                Settings("tcp://localhost:1", **wrong)

    def test_tls_is_verified(self):
        context = Settings("tls://localhost:1").ssl
        self.assertTrue(context.check_hostname)
        self.assertEqual(context.verify_mode, ssl.CERT_REQUIRED)

    def test_no_secret_is_printed(self):
        s = Settings("tcp://localhost:1", token="secret", fields={"token": "secret", "session": "secret"})
        self.assertNotIn("secret", repr(s) + str(s))
        self.assertIn("session", repr(s))


if __name__ == "__main__":
    unittest.main()
