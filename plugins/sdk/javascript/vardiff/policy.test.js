// `npm test`: the policy by itself, without WebAssembly. tests/*.toml are run against the component.

import assert from "node:assert/strict";
import { test } from "node:test";

import SimpleVardiff from "./policy.js";
import { configured } from "./sluice.js";

test("known answers", () => configured(SimpleVardiff, "{}").selfTest());

test("a target out of range is refused", () => {
  const refusal = { tag: "bad-settings", message: "shares-per-minute: 0 is not a number from 0.1 to 600" };
  assert.throws(() => configured(SimpleVardiff, `{ "shares-per-minute": 0 }`), refusal);
});

test("a minute says little where shares are seldom", () => {
  const vardiff = configured(SimpleVardiff, `{ "shares-per-minute": 1 }`);
  const channel = { client: { protocol: "stratum-v1" }, floor: 1, ceiling: 1e12 };
  const after = (accepted) => vardiff.review({ channel, current: 1024, elapsedMs: 60_000, accepted });
  for (const accepted of [0, 1, 4]) assert.equal(after(accepted).difficulty, 1024);
  assert.equal(after(1).reviewAfterMs, 180_000);
});

test("to an SV2 miner the suggestion is a bound, not a wish", () => {
  const channel = { client: { protocol: "stratum-v2" }, floor: 1, ceiling: 1e12 };
  const open = (suggested) => configured(SimpleVardiff, "{}").open({ channel, suggested }).difficulty;
  assert.equal(open(2), 1024);
  assert.equal(open(5000), 5000);
});
