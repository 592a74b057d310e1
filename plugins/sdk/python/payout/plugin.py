"""Who is paid for a block: everybody by the work since the last one, less the pool's fee.

The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer and divides to the
satoshi. Money is whole numbers: no float comes near it.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.lifecycle import Descriptor
from wit_world.exports.payout import (
    Contribution,
    Entitlement,
    Plan,
    Portion_Fixed,
    Portion_Weight,
    Window_Round,
)
from wit_world.imports.types import PolicyError_BadInput

from kit import Settings, expect, logged

SCHEMA = """{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "fee-bps": {
      "description": "The pool's fee in hundredths of a percent of the reward, rounded down.",
      "type": "integer", "minimum": 0, "maximum": 10000, "default": 0
    }
  }
}"""

# The pool's own account.
HOUSE = ""


class Proportional:
    """The decisions. Nothing here knows of WebAssembly."""

    def __init__(self, settings):
        self.fee_bps = settings.whole("fee-bps", 0, 10_000, default=0)
        settings.finish()

    def settle(self, reward, contributions):
        miners = [c for c in contributions if c.account != HOUSE and c.work > 0]
        if not miners:
            return [Entitlement(HOUSE, Portion_Weight(1), "nobody worked in this round")]
        answer = [Entitlement(c.account, Portion_Weight(c.work), "work in this round") for c in miners]
        # The house's own machines may have worked too. An account is named once only: what they earned joins the fee.
        fee = reward * self.fee_bps // 10_000
        total = sum(c.work for c in contributions)
        own = (reward - fee) * sum(c.work for c in contributions if c.account == HOUSE) // total
        if fee + own:
            answer.append(Entitlement(HOUSE, Portion_Fixed(fee + own), "fee and own work" if own else "fee"))
        return answer


# From here on: how the host reaches the above.

policy = None


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Descriptor(
            name="proportional",
            version="0.1.0",
            summary="A block pays for the work since the last one, less the pool's fee.",
            settings_schema=SCHEMA,
            memo_format=0,
        )

    @logged
    def configure(self, settings):
        global policy
        policy = Proportional(Settings.parse(settings))

    @logged
    def self_test(self):
        scheme = Proportional(Settings({"fee-bps": 200}))
        work = [Contribution("a", 3, 1), Contribution("b", 1, 1)]
        portions = [(e.account, e.portion) for e in scheme.settle(1_000_049, work)]
        wanted = [("a", Portion_Weight(3)), ("b", Portion_Weight(1)), (HOUSE, Portion_Fixed(20_000))]
        expect("three to one at 2%", portions, wanted)


class Payout(exports.Payout):
    def describe_plan(self):
        return Plan(window=Window_Round(), per_finder=False, accrues=False, pays_balances=False)

    @logged
    def settle(self, round):
        return policy.settle(round.subsidy + round.fees, round.contributions)

    def accrue(self, tallies):
        raise Err(PolicyError_BadInput("a proportional scheme pays blocks, not shares as they come"))
