import { expect, it } from "vitest";
import assets from "../../src/api/assets.rs?raw";
import routes from "../src/routes.tsx?raw";

const quoted = (text: string): string[] => [...text.matchAll(/"(\w+)"/g)].map((match) => match[1]!);

it("the server answers every view's address with the page", () => {
  const served = quoted(/const VIEWS[^=]*=\s*\[([^\]]*)\]/.exec(assets)![1]!).sort();
  const shown = [...routes.matchAll(/case "(\w+)"/g)].map((match) => match[1]!).sort();
  expect(served).toEqual(shown);
  for (const [, section] of routes.matchAll(/\["(\w+)", "/g)) expect(served).toContain(section);
});
