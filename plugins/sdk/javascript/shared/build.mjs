// Makes NAME.wasm of policy.js. The toolchain must be there: `npm ci`, or for StarlingMonkey
// `npm ci --prefix starlingmonkey`.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";

process.chdir(import.meta.dirname);

const manifest = readFileSync("plugin.toml", "utf8");
const field = (name) => manifest.match(new RegExp(`^${name} *= *"(.*?)"`, "m"))?.[1];
const [name, kind, engine = "quickjs"] = ["name", "kind", "engine"].map(field);
const lookup = /^lookup *= *true/m.test(manifest);
const [entry, witPath, world] = ["build/component.js", "wit", `${kind}-policy${lookup ? "-lookup" : ""}`];
const version = readFileSync("wit/policy.wit", "utf8").match(/^package sluice:policy@(.*?);/m)[1];

const engines = {
  // Without `stubWasi` the component imports 18 interfaces of WASI, and the host grants none. Without `sync` it wants a
  // host with asynchronous calls, with `optSize` one with tail calls.
  async quickjs() {
    const { componentize } = await import("componentize-qjs");
    const source = { jsSource: readFileSync(entry, "utf8"), jsPath: entry, moduleRoot: "." };
    return componentize({ ...source, witPath, world, stubWasi: true, sync: true });
  },
  // Each of these features is imports that the host does not grant.
  async starlingmonkey() {
    const { componentize } = await import("./starlingmonkey/index.mjs");
    const disableFeatures = ["stdio", "random", "clocks", "http", "fetch-event"];
    return componentize({ sourcePath: entry, witPath, worldName: world, disableFeatures });
  },
};

const u64 = engine === "quickjs" ? "Number" : "BigInt";
mkdirSync("build", { recursive: true });
writeFileSync(
  entry,
  `import { write } from "sluice:policy/log@${version}";
${lookup ? `import { fetch } from "sluice:policy/lookup@${version}";` : "const fetch = undefined;"}
import Policy from "../policy.js";
import { component } from "../sluice.js";
export const { lifecycle, ${kind} } = component("${kind}", Policy, { write, fetch }, ${u64});
`,
);
try {
  if (!engines[engine]) throw new Error(`plugin.toml: engine = "${engine}": "quickjs" or "starlingmonkey" is expected`);
  const { component } = await engines[engine]();
  // Aside and renamed: a pool that watches the file must never see half of it.
  writeFileSync(`build/${name}.wasm`, component);
  renameSync(`build/${name}.wasm`, `${name}.wasm`);
  console.log(`${name}.wasm: ${component.length} bytes`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
