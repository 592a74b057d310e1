"""The decisions by themselves. Build once, then: PYTHONPATH=bindings python3 -m unittest"""

import unittest

from componentize_py_types import Err
from wit_world.exports.auth import Refusal_UnknownUser

from kit import Settings
from plugin import AddressBook, grant


class Logins(unittest.TestCase):
    def test_an_account_is_paid_to_its_address(self):
        book = AddressBook(Settings({"accounts": {"alice": {"address": "bc1q"}}}))
        self.assertEqual(book.authorize("alice.rig", None), grant("alice", "rig", "bc1q"))

    def test_strangers_stay_outside(self):
        with self.assertRaises(Err) as refused:
            AddressBook(Settings({})).authorize("mallory", None)
        self.assertIsInstance(refused.exception.value, Refusal_UnknownUser)

    def test_a_wrong_setting_is_named(self):
        with self.assertRaises(Err) as refused:
            AddressBook(Settings({"opne": True}))
        self.assertIn("opne: no such setting; there are: accounts, open", refused.exception.value.value)


if __name__ == "__main__":
    unittest.main()
