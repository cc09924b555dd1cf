// node artifacts.mjs OUT FOLDER: from what forge compiled, one canonical JSON file for each contract
// that is deployed: sorted keys, no blanks, nothing that depends on the machine.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const { keccak256 } = createRequire(import.meta.url)("js-sha3");
const CONTRACTS = ["Ledger", "InferenceVerifier", "ContentVerifier", "AgentValidator"];

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

// `internalType` names places in the sources; callers do not need it.
function plain(entry) {
  if (Array.isArray(entry)) return entry.map(plain);
  if (entry === null || typeof entry !== "object") return entry;
  return Object.fromEntries(
    Object.entries(entry)
      .filter(([key]) => key !== "internalType")
      .map(([key, value]) => [key, plain(value)]),
  );
}

const [out, folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
for (const name of CONTRACTS) {
  const made = JSON.parse(readFileSync(`${out}/${name}.sol/${name}.json`, "utf8"));
  const runtime = made.deployedBytecode.object;
  const bytes = Buffer.from(runtime.slice(2), "hex");
  const { compiler, settings } = made.metadata;
  // Where constructors write their arguments into the code: its hash then depends on them.
  const places = Object.values(made.deployedBytecode.immutableReferences ?? {}).flat();
  const artifact = {
    contract: name,
    abi: plain(made.abi),
    bytecode: made.bytecode.object,
    runtime,
    code_hash: `0x${keccak256(bytes)}`,
    code_sha256: `0x${createHash("sha256").update(bytes).digest("hex")}`,
    immutables: places.map(({ start, length }) => [start, length]).sort((a, b) => a[0] - b[0]),
    compiler: `solc ${compiler.version}`,
    settings: {
      evmVersion: settings.evmVersion,
      optimizer: settings.optimizer,
      viaIR: settings.viaIR,
    },
  };
  writeFileSync(`${folder}/${name}.json`, `${canonical(artifact)}\n`);
}
