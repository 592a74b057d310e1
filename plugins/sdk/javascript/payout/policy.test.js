// `npm test`: the policy by itself, without WebAssembly. tests/*.toml are run against the component.

import assert from "node:assert/strict";
import { test } from "node:test";

import Proportional from "./policy.js";
import { configured } from "./sluice.js";

test("known answers", () => configured(Proportional, "{}").selfTest());

test("a misspelt setting is refused and named", () => {
  const refusal = { tag: "bad-settings", message: "fee: no such setting; there are: fee-bps" };
  assert.throws(() => configured(Proportional, `{ "fee": 1 }`), refusal);
});

test("a fee is whole basis points", () => {
  const refusal = { tag: "bad-settings", message: "fee-bps: 1.5 is not a whole number from 0 to 10000" };
  assert.throws(() => configured(Proportional, `{ "fee-bps": 1.5 }`), refusal);
});

test("the house's own work is in its one portion", () => {
  const contributions = [
    { account: "", work: 1, shares: 1 },
    { account: "a", work: 3, shares: 3 },
  ];
  const answer = configured(Proportional, `{ "fee-bps": 100 }`).settle({ subsidy: 1_000_000, fees: 0, contributions });
  assert.deepEqual(answer.at(-1).portion, { tag: "fixed", val: 257_500 });
});
