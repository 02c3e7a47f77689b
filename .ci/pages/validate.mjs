// html-validate over the given pages, by its library: its own program asks for a newer Node than Debian's.
import { readFileSync } from "node:fs";
import { HtmlValidate, StaticConfigLoader } from "html-validate";

const off = ["long-title", "no-trailing-whitespace", "prefer-native-element", "require-sri", "attribute-boolean-style"];
const rules = Object.fromEntries(off.map((rule) => [rule, "off"])); // matters of taste, and of outside hosts that we do not use
const checker = new HtmlValidate(new StaticConfigLoader({ extends: ["html-validate:standard"], rules }));
let count = 0;
for (const path of process.argv.slice(2)) {
  const report = await checker.validateString(readFileSync(path, "utf8"), path);
  for (const { messages } of report.results)
    for (const { line, column, ruleId, message } of messages) count += 1, console.log(`${path}:${line}:${column}: ${message} [${ruleId}]`);
}
process.exit(count ? 1 : 0);
