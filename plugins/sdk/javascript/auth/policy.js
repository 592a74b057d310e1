// Who a login is: accounts, addresses and passwords from the settings.
//
// The contract, with every field and its bounds, is wit/policy.wit; names with "-" there are in camelCase here. The
// host checks every answer.

import { Refusal, expect } from "./sluice.js";

// What the host takes in a name: printable ASCII without " & ' < > \.
const NAME = " !#-%(-;=?-[\\]-~";
// And of an account: 1 to 128 of these, no dot, no space at either end.
const ACCOUNT = `^(?! )(?!.*\\.)[${NAME}]{1,128}(?<! )$`;

export default class AddressBook {
  static name = "address-book";
  static version = "0.1.0";
  static summary = "Logins from an address book: ACCOUNT[.WORKER], an address and perhaps a password for each.";
  // JSON Schema: shown to the operator, and the settings are checked by it before the constructor sees them.
  static settings = {
    type: "object",
    additionalProperties: false,
    properties: {
      accounts: {
        description: "A table for each account, by name. A login is ACCOUNT or ACCOUNT.WORKER.",
        type: "object",
        propertyNames: { pattern: ACCOUNT },
        additionalProperties: {
          type: "object",
          additionalProperties: false,
          required: ["address"],
          properties: {
            // The host checks it against the pool's network.
            address: { description: "Where the account is paid.", type: "string", pattern: "^[0-9A-Za-z]{1,90}$" },
            password: { description: "Without one any password will do.", type: "string", writeOnly: true },
            "minimum-difficulty": { type: "number", minimum: 0.001, maximum: 1e18 },
          },
        },
        default: {},
      },
      open: { description: "Let in who is not in the book, without an address.", type: "boolean", default: false },
    },
  };

  constructor({ accounts, open }) {
    // Not an object: there every name that objects have by themselves, `constructor` for one, would be an account.
    this.accounts = new Map(Object.entries(accounts));
    this.open = open;
  }

  authorize({ username, password }) {
    const [account, ...rest] = username.trim().split(".");
    const worker = rest.join(".").slice(0, 128).replace(new RegExp(`[^${NAME}]`, "gu"), "_");
    const entry = this.accounts.get(account);
    if (!entry) {
      if (this.open && new RegExp(ACCOUNT, "u").test(account)) return { account, worker };
      throw new Refusal("unknown-user", "no such account here");
    }
    if (entry.password !== undefined && entry.password !== password) {
      throw new Refusal("wrong-password", "wrong password");
    }
    return { account, worker, payoutAddress: entry.address, minimumDifficulty: entry["minimum-difficulty"] };
  }

  // Known answers, asked for before the plugin is let in: for known settings, because the operator's may be anything.
  selfTest() {
    const book = new AddressBook({ accounts: { a: { address: "x", password: "p" } }, open: false });
    expect("the right password", book.authorize({ username: "a.rig", password: "p" }).worker, "rig");
    expect("a wrong password", refusal(book, { username: "a.rig", password: "q" }), "wrong-password");
    expect("a stranger", refusal(book, { username: "constructor" }), "unknown-user");
  }
}

function refusal(book, login) {
  try {
    return book.authorize(login);
  } catch (error) {
    return error.tag;
  }
}
