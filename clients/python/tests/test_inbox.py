"""What waits for the program, and which pushes are remembered."""

import unittest

from frames import push_id
from rollcall import Message, Push, State, StateChange
from rollcall.inbox import REMEMBERED, Acknowledgements, Inbox


def push(number, confirm=True):
    return Push(push_id(number), Push.TEXT, "", 0, confirm, {}, b"")


class Order(unittest.TestCase):
    def test_the_oldest_of_some_types(self):
        inbox = Inbox()
        message, change, last = Message(1, bytes(84)), StateChange(State.ONLINE, "alice"), Message(2)
        for item in (push(1), message, change, last):
            inbox.put(item)
        self.assertEqual(inbox.size, 16 + 100 + 16)
        self.assertIs(inbox.take((StateChange,)), change)
        self.assertIsInstance(inbox.take((Message, Push)), Push)
        self.assertIs(inbox.take((Message, Push)), message)
        self.assertIs(inbox.take((Message, Push)), last)
        self.assertEqual((inbox.take((Message, Push)), inbox.size), (None, 0))

    def test_states_that_nothing_reads_are_bounded(self):
        inbox = Inbox()
        for number in range(1001):
            inbox.put(StateChange(State.ONLINE, str(number)))
        self.assertEqual(inbox.take((StateChange,)).user, "1")


class Remembering(unittest.TestCase):
    def test_each_is_dealt_with_once(self):
        acks = Acknowledgements()
        self.assertFalse(acks.finish(push(1)), "it was not handed out")
        self.assertTrue(acks.is_new(push(1)))
        self.assertFalse(acks.is_new(push(1)), "it is handed out")
        self.assertFalse(acks.is_done(push(1)))
        self.assertTrue(acks.finish(push(1)))
        self.assertFalse(acks.finish(push(1)))
        self.assertFalse(acks.is_new(push(1)))
        self.assertTrue(acks.is_done(push(1)))

    def test_one_that_was_given_up_is_new(self):
        acks = Acknowledgements()
        acks.is_new(push(1))
        acks.abandon(push(1))
        self.assertTrue(acks.is_new(push(1)))

    def test_one_without_confirmation_is_always_new(self):
        acks = Acknowledgements()
        self.assertTrue(acks.is_new(push(1, confirm=False)))
        self.assertFalse(acks.finish(push(1, confirm=False)))
        self.assertTrue(acks.is_new(push(1, confirm=False)))

    def test_what_could_not_be_sent_is_kept_in_order_and_bounded(self):
        acks = Acknowledgements()
        for number in range(REMEMBERED + 1):
            acks.keep(push_id(number))
        self.assertEqual(acks.take_unsent(), [push_id(number) for number in range(1, REMEMBERED + 1)])
        self.assertEqual(acks.take_unsent(), [])


if __name__ == "__main__":
    unittest.main()
