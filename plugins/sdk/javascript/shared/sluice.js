// What every policy needs: settings checked by their schema, refusals, known answers, and the way to the host.
// The same file in each starter. Nothing in it is special to Sluice's programs: change it as you like.

/**
 * An answer that is no. `tag` is a case of the contract: `bad-input`, `bad-settings` or `internal`; for a login
 * `unknown-user`, `wrong-password`, `forbidden` or `try-later`. Any other exception is a bug, and is logged as one.
 */
export class Refusal extends Error {
  constructor(tag, text) {
    super(text);
    if (!TAGS.includes(tag)) throw new Error(`a refusal is one of ${TAGS.join(", ")}, not "${tag}"`);
    this.tag = tag;
  }
}

const TAGS = ["bad-input", "bad-settings", "internal", "unknown-user", "wrong-password", "forbidden", "try-later"];

// Where log lines go: to the host once `component` has been called, to the terminal under Node.
let write = (level, text) => console.error(level, text);

/** Writes to the host's log. `level` is `debug`, `info`, `warn` or `error`. */
export const log = (level, text) => write(level, text);

/** What `lookup` throws. Where nobody catches it, the miner is told to try later. */
export class LookupFailure extends Refusal {
  constructor(failure, text) {
    super("try-later", "a service that this login needs does not answer");
    // `denied` or `unavailable`, and what the host says to it.
    Object.assign(this, { failure, text });
  }
}

let fetch = () => {
  throw new Error("only an auth policy whose plugin.toml says `lookup = true` looks things up");
};

/**
 * Has the host ask a service: `{ status, stale, body, json() }`, with the body as text and as a JSON object. Only within `authorize`, and always the same
 * requests in the same order for the same login: the host begins `authorize` again when an answer has come. `body` makes
 * it a POST.
 */
export function lookup(url, { body, contentType = "" } = {}) {
  let answer;
  try {
    answer = fetch({ url, body: body === undefined ? undefined : bytes(body), contentType });
  } catch (error) {
    const failure = error?.payload ?? error;
    if (typeof failure?.tag !== "string") throw error;
    throw new LookupFailure(failure.tag, failure.val);
  }
  const said = text(answer.body);
  return { status: answer.status, stale: answer.stale, body: said, json: () => object(said) };
}

// Neither engine has a TextEncoder without WASI.
const bytes = (body) => Uint8Array.from(unescape(encodeURIComponent(body)), (c) => c.charCodeAt(0));

function object(body) {
  try {
    const value = JSON.parse(body);
    if (fits({ type: "object" }, value)) return value;
  } catch {
    // Said below.
  }
  throw new LookupFailure("unavailable", "what the service answers is no JSON object");
}

function text(body) {
  try {
    return decodeURIComponent(escape(Array.from(body, (byte) => String.fromCharCode(byte)).join("")));
  } catch {
    throw new LookupFailure("unavailable", "what the service answers is no UTF-8");
  }
}

/** For `selfTest`: an answer that is not the known one keeps the plugin out. */
export function expect(what, answer, wanted) {
  const [is, should] = [JSON.stringify(answer), JSON.stringify(wanted)];
  if (is !== should) throw new Refusal("internal", `${what}: ${is} instead of ${should}`);
}

/** A policy from its settings as JSON text. What is wrong with them is reported all at once. */
export function configured(Policy, text) {
  const problems = [];
  const settings = checked(Policy.settings, parsed(text), "", problems);
  if (problems.length > 0) throw new Refusal("bad-settings", problems.join("; "));
  return new Policy(settings);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refusal("bad-settings", `the settings are not JSON: ${error.message}`);
  }
}

// `value` with its defaults filled in. Knows the part of JSON Schema that settings need; see `KEYWORDS`.
function checked(schema, value, path, problems) {
  const problem = (at, what) => problems.push(`${at || "settings"}: ${what}`);
  if (!fits(schema, value)) {
    // What is marked `writeOnly` is a secret: never shown, not even where something else was given for it.
    const given = schema.writeOnly ? "what is given" : shown(value);
    problem(path, `${given} is not ${allowed(schema)}`);
    return value;
  }
  if (schema.type === "array") {
    return value.map((item, index) => checked(schema.items, item, `${path}[${index}]`, problems));
  }
  if (schema.type !== "object") return value;

  const { properties = {}, required = [], additionalProperties: others = false, propertyNames: names } = schema;
  const below = (name) => (path ? `${path}.${name}` : name);
  const entries = [];
  for (const [name, inner] of Object.entries(value)) {
    const rule = Object.hasOwn(properties, name) ? properties[name] : others;
    if (!rule) {
      problem(below(name), `no such setting; there are: ${Object.keys(properties).join(", ")}`);
    } else if (names && !fits({ type: "string", ...names }, name)) {
      problem(below(name), `the name is not ${allowed({ type: "string", ...names })}`);
    } else {
      entries.push([name, checked(rule, inner, below(name), problems)]);
    }
  }
  for (const [name, rule] of Object.entries(properties)) {
    if (Object.hasOwn(value, name)) continue;
    if (required.includes(name)) problem(below(name), `missing; ${allowed(rule)} is expected`);
    if (rule.default !== undefined) entries.push([name, rule.default]);
  }
  // Not by assignment: one of the names could be `__proto__`.
  return Object.fromEntries(entries);
}

function fits({ type, enum: cases, pattern, minimum = -Infinity, maximum = Infinity }, value) {
  if (cases && !cases.includes(value)) return false;
  switch (type) {
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "array":
      return Array.isArray(value);
    case "integer":
      return Number.isSafeInteger(value) && minimum <= value && value <= maximum;
    case "number":
      return typeof value === "number" && minimum <= value && value <= maximum;
    case "string":
      return typeof value === "string" && (!pattern || new RegExp(pattern, "u").test(value));
    default:
      return typeof value === type;
  }
}

function allowed({ type, enum: cases, pattern, minimum, maximum }) {
  if (cases) return `one of ${cases.join(", ")}`;
  const least = minimum === undefined ? "" : ` from ${minimum}`;
  const most = maximum === undefined ? "" : ` to ${maximum}`;
  return TYPES[type] + least + most + (pattern ? ` that matches ${pattern}` : "");
}

// A list or a table may hold secrets.
function shown(value) {
  if (Array.isArray(value)) return TYPES.array;
  return fits({ type: "object" }, value) ? TYPES.object : JSON.stringify(value).slice(0, 40);
}

const TYPES = {
  array: "a list",
  boolean: "true or false",
  integer: "a whole number",
  number: "a number",
  object: "a table",
  string: "a text",
};

const KEYWORDS = new Set([
  "type", "title", "description", "default", "writeOnly", "enum", "minimum", "maximum", "pattern",
  "required", "properties", "propertyNames", "additionalProperties", "items",
]);

// A keyword that is written down and not checked would be a promise to the operator that nobody keeps.
function understood(schema) {
  const unknown = Object.keys(schema).find((keyword) => !KEYWORDS.has(keyword));
  if (unknown) throw new Error(`sluice.js does not check "${unknown}" in settings`);
  const { properties = {}, additionalProperties, items } = schema;
  [...Object.values(properties), additionalProperties, items].filter(Boolean).forEach(understood);
}

/**
 * What the host calls, made from a policy's class. `u64` makes what the engine wants for one: `Number` in QuickJS,
 * `BigInt` in StarlingMonkey. To the policy they are numbers in both: the contract keeps all of them below 2^53.
 */
export function component(kind, Policy, host, u64) {
  understood(Policy.settings);
  withoutChance();
  write = host.write;
  fetch = host.fetch ?? fetch;
  let policy;

  // Hands arguments over and answers back. Without the log line a bug would be a bare "unreachable" to the operator.
  function calls(decide, textLimit = 1000) {
    return (...input) => {
      try {
        return decide(...(u64 === BigInt ? input.map(numbers) : input));
      } catch (error) {
        if (error instanceof Refusal) throw { tag: error.tag, val: printable(error.message, textLimit) };
        log("error", printable(`${error} ${error?.stack ?? ""}`.replace(/\s+/g, " "), 1000));
        throw error;
      }
    };
  }
  const u64Of = (record, field) => (record[field] = u64(whole(record[field], Number.MAX_SAFE_INTEGER)));
  const kinds = {
    auth: {
      authorize: calls((login) => policy.authorize(login), 200),
    },
    vardiff: {
      open: calls((opening) => decided(policy.open(opening))),
      reviewAll: calls((reviews) => reviews.map((review) => decided(policy.review(review)))),
    },
    payout: {
      describePlan: calls(() => {
        const plan = policy.describePlan();
        if (plan.window.tag === "duration-ms") u64Of(plan.window, "val");
        return plan;
      }),
      settle: calls((round) => {
        const entitlements = policy.settle(round);
        for (const { portion } of entitlements) u64Of(portion, "val");
        return entitlements;
      }),
      accrue: calls((tallies) => {
        const accruals = policy.accrue(tallies);
        for (const accrual of accruals) {
          u64Of(accrual, "sats");
          whole(accrual.microsats, 999_999);
        }
        return accruals;
      }),
    },
  };
  const { name, version, summary, settings, memoFormat = 0 } = Policy;
  return {
    lifecycle: {
      describe: () => ({ name, version, summary, settingsSchema: JSON.stringify(settings), memoFormat }),
      configure: calls((text) => void (policy = configured(Policy, text))),
      selfTest: calls(() => void policy.selfTest()),
    },
    [kind]: kinds[kind],
  };
}

// The same input must have the same answer: who asks for the time or a random number is told, not just stopped.
function withoutChance() {
  const none = (what) => () => {
    throw new Error(`there is no ${what} in a policy`);
  };
  Math.random = none("randomness");
  Date.now = none("clock");
  const construct = (date, from) => (from.length > 0 ? new date(...from) : date.now());
  globalThis.Date = new Proxy(Date, { construct });
  Reflect.deleteProperty(globalThis, "performance");
}

function decided(decision) {
  whole(decision.reviewAfterMs, U32_MAX);
  whole(decision.reviewAfterShares, U32_MAX);
  decision.memo ??= new Uint8Array();
  return decision;
}

const U32_MAX = 2 ** 32 - 1;

// QuickJS would cut a fraction off in silence, and StarlingMonkey make a great number of a negative one.
function whole(value, limit) {
  const number = Number(value);
  if (Number.isInteger(number) && number >= 0 && number <= limit) return number;
  throw new RangeError(`${value} is not a whole number from 0 to ${limit}`);
}

// In place: every BigInt becomes the number it stands for.
function numbers(value) {
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
    for (const key of Object.keys(value)) value[key] = numbers(value[key]);
  }
  return value;
}

/** The host refuses answers with anything but printable ASCII, and too long ones. */
export const printable = (text, limit) => text.slice(0, limit).replace(/[^ -~]/g, "_");
