// Trained parameters of a delta module: the same count as src/structure/kind.rs, for structures whose document lists
// no sizes (those without a search's probabilities).

import type { HeatmapModule } from "./Heatmap";
import { locate } from "./layout";

export interface Widths {
  d_model: number;
  d_kv: number;
  num_heads: number;
  d_ff: number;
  vocab_size: number;
}

export function parametersOf({ position, kind, rank, bottleneck }: HeatmapModule, shape: Widths): number {
  const d = shape.d_model;
  const [input, output] = widths(locate(position)?.row ?? "", shape);
  const r = rank ?? 1;
  const k = bottleneck ?? 0;
  switch (kind) {
    case "lora":
      return r * (input + output);
    case "bitfit":
    case "lnfit":
      return output;
    case "low_rank_adapter":
      return 2 * r * (d + k) + k + d;
    case "adapter":
    case "parallel_adapter":
      return 2 * d * k + k + d;
    default:
      return 0;
  }
}

function widths(row: string, shape: Widths): [input: number, output: number] {
  const { d_model: d, d_ff } = shape;
  const inner = shape.num_heads * shape.d_kv;
  if (row === "lm_head") return [d, shape.vocab_size];
  if (/\.[qkv]$/.test(row)) return [d, inner];
  if (row.endsWith(".o")) return [inner, d];
  if (/\.wi(_[01])?$/.test(row)) return [d, d_ff];
  if (row.endsWith(".wo")) return [d_ff, d];
  return [d, d];
}
