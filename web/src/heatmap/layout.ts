// Where each delta module stands in the heatmap: columns are layers, rows are positions, one panel per kind.
// Pure data; drawing is in Heatmap.tsx.

export type Stack = "encoder" | "decoder";
/** A layer's index, or what follows the last layer: the stack's final norm, and `lm_head`. */
export type Layer = number | "final";

export interface Place {
  position: string;
  kind: string;
}

export interface Located {
  stack: Stack;
  layer: Layer;
  row: string;
}

export interface Column {
  stack: Stack;
  layer: Layer;
}

export interface Panel {
  kind: string;
  rows: string[];
  /** `modules[row][column]`: index of the module; `null` if the position is not in the space; `undefined` if the backbone has none there. */
  modules: (number | null | undefined)[][];
}

export interface Grid {
  columns: Column[];
  panels: Panel[];
}

export interface Layers {
  encoder_layers: number;
  decoder_layers: number;
}

/** Rows from the residual stream's input upward: label and the sublayers it may stand in. */
const ROWS: [row: string, label: string][] = [
  ["SelfAttention.q", "self q"],
  ["SelfAttention.k", "self k"],
  ["SelfAttention.v", "self v"],
  ["SelfAttention.o", "self o"],
  ["SelfAttention", "self-attention"],
  ["SelfAttention.norm", "self norm"],
  ["EncDecAttention.q", "cross q"],
  ["EncDecAttention.k", "cross k"],
  ["EncDecAttention.v", "cross v"],
  ["EncDecAttention.o", "cross o"],
  ["EncDecAttention", "cross-attention"],
  ["EncDecAttention.norm", "cross norm"],
  ["DenseReluDense.wi", "ff wi"],
  ["DenseReluDense.wi_0", "ff wi_0"],
  ["DenseReluDense.wi_1", "ff wi_1"],
  ["DenseReluDense.wo", "ff wo"],
  ["DenseReluDense", "feed-forward"],
  ["DenseReluDense.norm", "ff norm"],
  ["final_norm", "final norm"],
  ["lm_head", "lm_head"],
];
const ROW_ORDER = new Map(ROWS.map(([row], index) => [row, index]));
const ROW_LABELS = new Map(ROWS);

const KINDS: [kind: string, label: string][] = [
  ["lora", "LoRA"],
  ["lnfit", "LNFit"],
  ["bitfit", "BitFit"],
  ["low_rank_adapter", "Low-rank adapter"],
  ["adapter", "Adapter"],
  ["parallel_adapter", "Parallel adapter"],
];
const KIND_LABELS = new Map(KINDS);
const KIND_ORDER = new Map(KINDS.map(([kind], index) => [kind, index]));

const SUBLAYERS: Record<Stack, readonly string[]> = {
  encoder: ["SelfAttention", "DenseReluDense"],
  decoder: ["SelfAttention", "EncDecAttention", "DenseReluDense"],
};
const BLOCK = /^(encoder|decoder)\.block\.(\d+)\.layer\.(\d+)\.(.+)$/;

/** Reads a Hugging Face path; `null` if it is none of T5's. */
export function locate(position: string): Located | null {
  if (position === "lm_head") return { stack: "decoder", layer: "final", row: "lm_head" };
  const final = /^(encoder|decoder)\.final_layer_norm$/.exec(position);
  if (final) return { stack: final[1] as Stack, layer: "final", row: "final_norm" };
  const block = BLOCK.exec(position);
  if (!block) return null;
  const stack = block[1] as Stack;
  const sublayer = SUBLAYERS[stack][Number(block[3])];
  const rest = block[4]!;
  const row = rest === "layer_norm" ? `${sublayer}.norm` : rest;
  const known = ROW_ORDER.has(row) && sublayer !== undefined && row.startsWith(sublayer);
  return known ? { stack, layer: Number(block[2]), row } : null;
}

export function rowLabel(row: string): string {
  return ROW_LABELS.get(row) ?? row;
}

export function kindLabel(kind: string): string {
  return KIND_LABELS.get(kind) ?? kind;
}

export function columnLabel({ stack, layer }: Column): string {
  return layer === "final" ? `${stack} final` : `${stack} ${layer}`;
}

/** Lays out modules; without `layers` the stacks are as deep as their deepest module. */
export function buildGrid(modules: readonly Place[], layers?: Layers | null): Grid {
  const located = modules.map((module) => locate(module.position));
  const columns = columnsOf(located, layers);
  const columnAt = new Map(columns.map((column, index) => [`${column.stack} ${column.layer}`, index]));
  const kinds = [...new Set(modules.map((module) => module.kind))].sort(
    (a, b) => (KIND_ORDER.get(a) ?? 99) - (KIND_ORDER.get(b) ?? 99) || a.localeCompare(b),
  );
  const panels = kinds.map((kind) => {
    const present = new Set(located.filter((_, index) => modules[index]!.kind === kind).map((place) => place?.row));
    const rows = ROWS.map(([row]) => row).filter((row) => present.has(row));
    const rowAt = new Map(rows.map((row, index) => [row, index]));
    const cells = rows.map((row) => columns.map((column) => (exists(row, column) ? null : undefined) as number | null | undefined));
    modules.forEach((module, index) => {
      const place = located[index];
      if (module.kind !== kind || !place) return;
      cells[rowAt.get(place.row)!]![columnAt.get(`${place.stack} ${place.layer}`)!] = index;
    });
    return { kind, rows, modules: cells };
  });
  return { columns, panels };
}

/** Whether a T5 has such a position in that column. */
function exists(row: string, { stack, layer }: Column): boolean {
  if (layer === "final") return row === "final_norm" || (row === "lm_head" && stack === "decoder");
  if (row === "final_norm" || row === "lm_head") return false;
  return stack === "decoder" || !row.startsWith("EncDecAttention");
}

function columnsOf(located: readonly (Located | null)[], layers?: Layers | null): Column[] {
  return (["encoder", "decoder"] as const).flatMap((stack) => {
    const here = located.filter((place) => place?.stack === stack);
    const deepest = Math.max(-1, ...here.map((place) => (typeof place!.layer === "number" ? place!.layer : -1)));
    const depth = Math.max(layers?.[`${stack}_layers`] ?? 0, deepest + 1);
    const columns: Column[] = Array.from({ length: depth }, (_, layer) => ({ stack, layer }));
    if (here.some((place) => place!.layer === "final")) columns.push({ stack, layer: "final" });
    return columns;
  });
}

export interface Totals {
  rows: number[];
  columns: number[];
}

/** Sums of `value` over a panel's modules, by row and by column. */
export function panelTotals(panel: Panel, value: (module: number) => number): Totals {
  const rows = panel.rows.map(() => 0);
  const columns = (panel.modules[0] ?? []).map(() => 0);
  panel.modules.forEach((line, row) =>
    line.forEach((module, column) => {
      if (typeof module !== "number") return;
      const one = value(module);
      rows[row]! += one;
      columns[column]! += one;
    }),
  );
  return { rows, columns };
}

export interface At {
  panel: number;
  row: number;
  column: number;
}

/** The module that an arrow key leads to, or the same place at the edge; panels follow each other downward. */
export function step(grid: Grid, from: At, key: string): At {
  const line = (at: At) => grid.panels[at.panel]!.modules[at.row]!;
  const here = (at: At) => typeof line(at)[at.column] === "number";
  const along = (by: number, start: number): At => {
    for (let column = start; column >= 0 && column < grid.columns.length; column += by) {
      if (here({ ...from, column })) return { ...from, column };
    }
    return from;
  };
  const across = (by: number): At => {
    let { panel, row } = from;
    for (;;) {
      row += by;
      if (row < 0 || row >= grid.panels[panel]!.rows.length) {
        panel += by;
        const next = grid.panels[panel];
        if (!next) return from;
        row = by > 0 ? 0 : next.rows.length - 1;
      }
      const nearest = nearestModule(grid.panels[panel]!.modules[row]!, from.column);
      if (nearest !== null) return { panel, row, column: nearest };
    }
  };
  switch (key) {
    case "ArrowRight":
      return along(1, from.column + 1);
    case "ArrowLeft":
      return along(-1, from.column - 1);
    case "Home":
      return along(1, 0);
    case "End":
      return along(-1, grid.columns.length - 1);
    case "ArrowDown":
      return across(1);
    case "ArrowUp":
      return across(-1);
    default:
      return from;
  }
}

function nearestModule(line: readonly (number | null | undefined)[], column: number): number | null {
  for (let distance = 0; distance < line.length; distance++) {
    for (const at of [column - distance, column + distance]) {
      if (typeof line[at] === "number") return at;
    }
  }
  return null;
}
