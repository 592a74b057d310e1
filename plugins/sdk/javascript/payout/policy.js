// Who is paid for a block: everybody by the work since the last one, less the pool's fee.
//
// The contract, with every field and its bounds, is wit/policy.wit; names with "-" there are in camelCase here. The
// host checks every answer and divides to the satoshi.

import { Refusal, expect } from "./sluice.js";

// The pool's own account.
const HOUSE = "";

export default class Proportional {
  static name = "proportional";
  static version = "0.1.0";
  static summary = "A block pays for the work since the last one, less the pool's fee.";
  // JSON Schema: shown to the operator, and the settings are checked by it before the constructor sees them.
  static settings = {
    type: "object",
    additionalProperties: false,
    properties: {
      "fee-bps": {
        description: "The pool's fee in hundredths of a percent of the reward, rounded down to the satoshi.",
        type: "integer",
        minimum: 0,
        maximum: 10_000,
        default: 0,
      },
    },
  };

  constructor(settings) {
    this.feeBps = settings["fee-bps"];
  }

  describePlan() {
    return { window: { tag: "round" }, perFinder: false, accrues: false, paysBalances: false };
  }

  settle({ subsidy, fees, contributions }) {
    const miners = contributions.filter(({ account, work }) => account !== HOUSE && work > 0);
    if (miners.length === 0) return [weight(HOUSE, 1, "nobody worked in this round")];

    const answer = miners.map(({ account, work }) => weight(account, work, "work in this round"));
    const house = this.house(subsidy + fees, contributions);
    if (house > 0) answer.push(fixed(HOUSE, house, "fee and the pool's own work"));
    return answer;
  }

  // The fee, and what the pool's own machines have earned: an account may be named only once. In BigInt, because the
  // products are beyond 2^53, where numbers stop being exact.
  house(reward, contributions) {
    const fee = (BigInt(reward) * BigInt(this.feeBps)) / 10_000n;
    let [own, total] = [0n, 0n];
    for (const { account, work } of contributions) {
      total += BigInt(work);
      if (account === HOUSE) own += BigInt(work);
    }
    return Number(fee + ((BigInt(reward) - fee) * own) / total);
  }

  accrue() {
    throw new Refusal("bad-input", "a proportional scheme pays blocks, not shares as they come");
  }

  // Known answers, asked for before the plugin is let in: for known settings, because the operator's may be anything.
  selfTest() {
    const contributions = [work("a", 3), work("b", 1)];
    const answer = new Proportional({ "fee-bps": 200 }).settle({ subsidy: 1_000_000, fees: 49, contributions });
    const portions = answer.map(({ account, portion }) => [account, portion.tag, portion.val]);
    expect("three to one at 2%", portions, [["a", "weight", 3], ["b", "weight", 1], [HOUSE, "fixed", 20_000]]);
  }
}

const weight = (account, val, reason) => ({ account, portion: { tag: "weight", val }, reason });
const fixed = (account, val, reason) => ({ account, portion: { tag: "fixed", val }, reason });
const work = (account, work) => ({ account, work, shares: work });
