import { expect, it } from "vitest";
import { fieldsOf, groupByFields, latest } from "../src/parts/tasks";

it.each([
  ["sst2 sentence: {sentence}", ["sentence"]],
  ["rte sentence1: {sentence1} sentence2: {sentence2} again {sentence1}", ["sentence1", "sentence2"]],
  ["no field", []],
])("fields of %s", (template, wanted) => expect(fieldsOf(template)).toEqual(wanted));

it("sends adapters that read the same fields together", () => {
  const adapters = [
    { name: "a", fields: ["text"] },
    { name: "b", fields: ["two", "one"] },
    { name: "c", fields: ["text"] },
    { name: "d", fields: ["one", "two"] },
  ];
  expect(groupByFields(adapters).map((group) => group.adapters)).toEqual([["a", "c"], ["b", "d"]]);
});

it("finds the generation that a name stands for", () => {
  const generation = (digest: string) => ({ digest, structure: "s", weights: "w", backbone_digest: "b", parameters: 1, created: "" });
  const adapter = { name: "a", created: "", aliases: { latest: "1" }, generations: [generation("1"), generation("2")] };
  expect(latest(adapter as never)?.digest).toBe("1");
  expect(latest({ ...adapter, aliases: {} } as never)?.digest).toBe("2");
});
