// What difficulty a miner works at: as many shares a minute as the settings say.
//
// The contract, with every field and its bounds, is wit/policy.wit; names with "-" there are in camelCase here. The
// host checks every answer.

import { expect } from "./sluice.js";

// Hashes that a share of difficulty 1 takes.
const HASHES = 2 ** 32;
// Where a miner starts of which nothing is known.
const START = 1024;
// The rate may be off by this factor until the difficulty is changed: shares come by chance.
const TOLERANCE = 1.5;
// The furthest that one decision goes.
const STEP_UP = 16;
const STEP_DOWN = 1 / 4;
// A rate is judged after the time in which so many shares are expected, or after REVIEW_SHARES of them: the fewer there
// are, the less they say.
const EXPECTED_SHARES = 3;
// When to look again, whichever comes first; later where shares are expected seldom.
const REVIEW_MS = 60_000;
const REVIEW_SHARES = 30;

export default class SimpleVardiff {
  static name = "simple-vardiff";
  static version = "0.1.0";
  static summary = "Difficulty by the rate of shares since the last look.";
  // JSON Schema: shown to the operator, and the settings are checked by it before the constructor sees them.
  static settings = {
    type: "object",
    additionalProperties: false,
    properties: {
      "shares-per-minute": {
        description: "How often a miner finds a share.",
        type: "number",
        minimum: 0.1,
        maximum: 600,
        default: 18,
      },
    },
  };

  constructor(settings) {
    this.target = settings["shares-per-minute"];
    this.patienceMs = Math.ceil((EXPECTED_SHARES * 60_000) / this.target);
  }

  open(opening) {
    // `||`: what is not given says nothing, and neither does 0.
    const byHashrate = ((opening.nominalHashrate ?? 0) * 60) / HASHES / this.target;
    return this.decision(bounded(wish(opening) || byHashrate || opening.start || START, opening));
  }

  review(review) {
    return this.decision(bounded(review.current * this.factor(review), review));
  }

  factor({ accepted, elapsedMs }) {
    if (accepted < REVIEW_SHARES && elapsedMs < this.patienceMs) return 1;
    if (accepted === 0) return 1 / 2;
    const minutes = Math.max(elapsedMs, 1) / 60_000;
    const ratio = accepted / minutes / this.target;
    if (ratio >= 1 / TOLERANCE && ratio <= TOLERANCE) return 1;
    return Math.min(Math.max(ratio, STEP_DOWN), STEP_UP);
  }

  decision(difficulty) {
    // A `memo`, a Uint8Array of up to 256 bytes, would be handed in with the next review: the only memory there is.
    return { difficulty, reviewAfterMs: Math.max(REVIEW_MS, this.patienceMs), reviewAfterShares: REVIEW_SHARES };
  }

  // Known answers, asked for before the plugin is let in: for known settings, because the operator's may be anything.
  selfTest() {
    const vardiff = new SimpleVardiff({ "shares-per-minute": 18 });
    const minute = { channel: CHANNEL, current: 1024, elapsedMs: 60_000 };
    const after = (accepted) => vardiff.review({ ...minute, accepted }).difficulty;
    expect("a minute on target", after(18), 1024);
    expect("four times too fast", after(72), 4096);
    expect("silence", after(0), 512);
  }
}

const CHANNEL = { client: { protocol: "stratum-v1" }, floor: 1, ceiling: 1e12 };

// What an SV1 miner suggests. Of an SV2 miner it is a bound; see `bounded`.
const wish = ({ channel, suggested }) => (channel.client.protocol === "stratum-v1" ? suggested : null);

function bounded(difficulty, { channel, suggested }) {
  const bound = channel.client.protocol === "stratum-v2" ? (suggested ?? 0) : 0;
  return Math.max(Math.min(difficulty, channel.ceiling), channel.floor, bound);
}
