"""The decisions by themselves. Build once, then: PYTHONPATH=bindings python3 -m unittest"""

import unittest

from componentize_py_types import Err

from kit import Settings
from plugin import SimpleVardiff, a_minute


class Reviews(unittest.TestCase):
    def test_the_difficulty_follows_the_rate(self):
        vardiff = SimpleVardiff(Settings({"shares-per-minute": 6}))
        for accepted, difficulty in [(6, 1024), (12, 2048), (3, 512), (0, 512), (6000, 16384)]:
            with self.subTest(accepted=accepted):
                self.assertEqual(vardiff.review(a_minute(accepted)).difficulty, difficulty)

    def test_a_minute_says_little_where_shares_are_seldom(self):
        vardiff = SimpleVardiff(Settings({"shares-per-minute": 1}))
        for accepted in (0, 1, 4):
            with self.subTest(accepted=accepted):
                self.assertEqual(vardiff.review(a_minute(accepted)), vardiff.decision(1024))
        self.assertEqual(vardiff.decision(1024).review_after_ms, 180_000)

    def test_a_wrong_setting_is_named(self):
        with self.assertRaises(Err) as refused:
            SimpleVardiff(Settings({"shares-per-minute": 0}))
        self.assertIn("shares-per-minute: 0 is not a number from 0.1 to 600", refused.exception.value.value)


if __name__ == "__main__":
    unittest.main()
