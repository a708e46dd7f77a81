import { expect, it } from "vitest";
import { parametersOf } from "../src/heatmap/sizes";

const LARGE = { d_model: 1024, d_kv: 64, num_heads: 16, d_ff: 4096, vocab_size: 32100 };

// method.md section 1, for T5-large.
const cases: [string, string, number, Record<string, number>][] = [
  ["encoder.block.0.layer.0.SelfAttention.q", "lora", 2048, { rank: 1 }],
  ["encoder.block.0.layer.0.SelfAttention.q", "lora", 16384, { rank: 8 }],
  ["encoder.block.0.layer.1.DenseReluDense.wo", "lora", 5120, { rank: 1 }],
  ["encoder.block.0.layer.1.DenseReluDense.wi", "bitfit", 4096, {}],
  ["decoder.block.0.layer.2.DenseReluDense.wo", "bitfit", 1024, {}],
  ["decoder.final_layer_norm", "lnfit", 1024, {}],
  ["decoder.block.0.layer.0.SelfAttention", "low_rank_adapter", 3168, { rank: 1, bottleneck: 32 }],
  ["decoder.block.0.layer.2.DenseReluDense", "adapter", 50200, { bottleneck: 24 }],
  ["lm_head", "bitfit", 32100, {}],
];
it.each(cases)("%s %s has %i parameters", (position, kind, wanted, settings) => {
  expect(parametersOf({ position, kind, ...settings }, LARGE)).toBe(wanted);
});
