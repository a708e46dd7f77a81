// What the page needs of a task's definition (src/task/definition.rs).

import type { Adapter, Generation, Task } from "../api/types";

interface Definition {
  description?: string;
  template?: string;
  metric?: string;
  target?: { kind?: string; labels?: { value: string; word: string }[]; minimum?: number; maximum?: number; step?: number };
}

export const definitionOf = (task: Task): Definition => task.definition as Definition;

/** Fields of a template such as `sst2 sentence: {sentence}`, in order of their first places. */
export function fieldsOf(template: string): string[] {
  return [...new Set([...template.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!))];
}

export function targetText(task: Task): string {
  const { target } = definitionOf(task);
  if (target?.kind === "regression") return `${target.minimum} to ${target.maximum} by ${target.step}`;
  return [...new Set((target?.labels ?? []).map((label) => label.word))].join(", ");
}

/** The generation that plain `name` stands for: its alias `latest`, else the newest. */
export function latest(adapter: Adapter): Generation | undefined {
  const digest = adapter.aliases.latest;
  return adapter.generations.find((one) => one.digest === digest) ?? adapter.generations.at(-1);
}

/** Adapters by the fields that they read, so that each request names only fields that its adapters know. */
export function groupByFields(adapters: { name: string; fields: string[] }[]): { fields: string[]; adapters: string[] }[] {
  const groups = new Map<string, { fields: string[]; adapters: string[] }>();
  for (const { name, fields } of adapters) {
    const id = [...fields].sort().join(" ");
    const group = groups.get(id) ?? { fields, adapters: [] };
    group.adapters.push(name);
    groups.set(id, group);
  }
  return [...groups.values()];
}
