// Writes src/api.d.ts from ../openapi/openapi.json; with --check, fails if it is stale.
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const source = new URL("../../openapi/openapi.json", import.meta.url);
const target = new URL("../src/api.d.ts", import.meta.url);
const header = "// Generated from openapi/openapi.json by `npm run generate:api`; do not edit.\n\n";
const wanted = header + astToString(await openapiTS(source, { alphabetize: true }));

if (process.argv.includes("--check")) {
  const found = await readFile(target, "utf8").catch(() => "");
  if (found !== wanted) {
    console.error("web/src/api.d.ts does not match openapi/openapi.json: run `npm run generate:api` in web/");
    process.exit(1);
  }
  console.log("web/src/api.d.ts matches openapi/openapi.json");
} else {
  await writeFile(target, wanted);
}
