// `npm test`: the policy by itself, without WebAssembly. tests/*.toml are run against the component.

import assert from "node:assert/strict";
import { test } from "node:test";

import AddressBook from "./policy.js";
import { configured } from "./sluice.js";

test("known answers", () => configured(AddressBook, "{}").selfTest());

test("what is wrong with the settings is reported all at once, and a password never shown", () => {
  const settings = { accounts: { alice: { password: 7, pasword: "x" }, "a.b": { address: "x" } }, open: "yes" };
  const message = [
    "accounts.alice.password: what is given is not a text",
    "accounts.alice.pasword: no such setting; there are: address, password, minimum-difficulty",
    "accounts.alice.address: missing; a text that matches ^[0-9A-Za-z]{1,90}$ is expected",
  ];
  assert.throws(
    () => configured(AddressBook, JSON.stringify(settings)),
    (refusal) => refusal.tag === "bad-settings" && refusal.message.startsWith(message.join("; ")),
  );
});

test("a name that every object has is no account", () => {
  const book = configured(AddressBook, "{}");
  for (const username of ["constructor", "__proto__", "toString.rig"]) {
    assert.throws(() => book.authorize({ username }), { tag: "unknown-user" });
  }
});
