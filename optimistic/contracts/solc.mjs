#!/usr/bin/env node
// The compiler of the npm package `solc`, with the little of solc's command line that forge uses:
// `--version`, and standard JSON from the standard input.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const solc = createRequire(import.meta.url)("solc");

if (process.argv.includes("--version")) {
  const version = solc.version().replace(/\.Emscripten\..*/, ".Linux.g++");
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
} else if (process.argv.includes("--standard-json")) {
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
} else {
  process.stderr.write("solc.mjs: expected --version or --standard-json\n");
  process.exitCode = 2;
}
