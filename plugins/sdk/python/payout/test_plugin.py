"""The decisions by themselves. Build once, then: PYTHONPATH=bindings python3 -m unittest"""

import unittest

from componentize_py_types import Err
from wit_world.exports.payout import Contribution, Portion_Fixed, Portion_Weight

from kit import Settings
from plugin import Proportional


class Settlements(unittest.TestCase):
    def test_work_is_the_weight_and_the_house_has_its_fee(self):
        answer = Proportional(Settings({"fee-bps": 100})).settle(1_000_000, [Contribution("a", work=3, shares=1)])
        portions = {entitlement.account: entitlement.portion for entitlement in answer}
        self.assertEqual(portions, {"a": Portion_Weight(3), "": Portion_Fixed(10_000)})

    def test_a_wrong_setting_is_named(self):
        with self.assertRaises(Err) as refused:
            Proportional(Settings({"fee-bps": 1.5}))
        self.assertIn("fee-bps: 1.5 is not a whole number from 0 to 10000", refused.exception.value.value)


if __name__ == "__main__":
    unittest.main()
