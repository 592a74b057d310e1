"""What difficulty a miner works at: as many shares a minute as the settings say.

The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer.
"""

from math import ceil

from wit_world import exports
from wit_world.exports.lifecycle import Descriptor
from wit_world.exports.vardiff import Channel, Decision, Review
from wit_world.imports.types import Client, Protocol

from kit import Settings, expect, logged

SCHEMA = """{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "shares-per-minute": {
      "description": "How often a miner finds a share.",
      "type": "number", "minimum": 0.1, "maximum": 600, "default": 18
    }
  }
}"""

# Hashes that a share of difficulty 1 takes.
HASHES = 2**32
# Where a miner starts of which nothing is known.
START = 1024
# The rate may be off by this factor until the difficulty is changed: shares come by chance.
TOLERANCE = 1.5
# The furthest that one decision goes.
STEP_UP = 16
STEP_DOWN = 1 / 4
# A rate is judged after the time in which so many shares are expected, or after REVIEW_SHARES of them: the fewer there
# are, the less they say.
EXPECTED_SHARES = 3
# When to look again, whichever comes first; later where shares are expected seldom.
REVIEW_MS = 60_000
REVIEW_SHARES = 30


class SimpleVardiff:
    """The decisions. Nothing here knows of WebAssembly."""

    def __init__(self, settings):
        self.target = settings.number("shares-per-minute", 0.1, 600, default=18)
        settings.finish()
        self.patience_ms = ceil(EXPECTED_SHARES * 60_000 / self.target)

    def open(self, opening):
        # `or`: what is not given says nothing, and neither does 0.
        difficulty = (
            wish(opening)
            or (opening.nominal_hashrate or 0) * 60 / HASHES / self.target
            or opening.start
            or START
        )
        return self.decision(bounded(difficulty, opening))

    def review(self, review):
        return self.decision(bounded(review.current * self.factor(review), review))

    def factor(self, review):
        if review.accepted < REVIEW_SHARES and review.elapsed_ms < self.patience_ms:
            return 1
        if review.accepted == 0:
            return 1 / 2
        minutes = max(review.elapsed_ms, 1) / 60_000
        ratio = review.accepted / minutes / self.target
        settled = 1 / TOLERANCE <= ratio <= TOLERANCE
        return 1 if settled else min(max(ratio, STEP_DOWN), STEP_UP)

    def decision(self, difficulty):
        # `memo` is handed in with the next review of the channel: up to 256 bytes, the only memory there is.
        return Decision(difficulty, max(REVIEW_MS, self.patience_ms), REVIEW_SHARES, memo=b"")


def wish(question):
    """What an SV1 miner suggests. Of an SV2 miner it is a bound; see `bounded`."""
    return question.suggested if question.channel.client.protocol == Protocol.STRATUM_V1 else None


def bounded(difficulty, question):
    floor = question.channel.floor
    if question.channel.client.protocol == Protocol.STRATUM_V2 and question.suggested:
        floor = max(floor, question.suggested)
    return max(min(difficulty, question.channel.ceiling), floor)


# From here on: how the host reaches the above.

policy = None


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Descriptor(
            name="simple-vardiff",
            version="0.1.0",
            summary="Difficulty by the rate of shares since the last look.",
            settings_schema=SCHEMA,
            memo_format=0,
        )

    @logged
    def configure(self, settings):
        global policy
        policy = SimpleVardiff(Settings.parse(settings))

    @logged
    def self_test(self):
        vardiff = SimpleVardiff(Settings({"shares-per-minute": 18}))
        expect("a minute on target", vardiff.review(a_minute(accepted=18)), vardiff.decision(1024))
        expect("four times too fast", vardiff.review(a_minute(accepted=72)), vardiff.decision(4096))
        expect("silence", vardiff.review(a_minute(accepted=0)), vardiff.decision(512))


def a_minute(accepted):
    channel = Channel("a", "", Client(Protocol.STRATUM_V1, "", "", "", ""), None, floor=1.0, ceiling=1e12)
    return Review(
        channel,
        now=0,
        current=1024.0,
        elapsed_ms=60_000,
        accepted=accepted,
        rejected=0,
        work=accepted * 1024.0,
        suggested=None,
        nominal_hashrate=None,
        memo=b"",
    )


class Vardiff(exports.Vardiff):
    @logged
    def open(self, opening):
        return policy.open(opening)

    @logged
    def review_all(self, reviews):
        return [policy.review(review) for review in reviews]
