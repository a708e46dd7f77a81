import { describe, expect, it } from "vitest";
import { buildGrid, locate, panelTotals, step } from "../src/heatmap/layout";

describe("positions", () => {
  const cases: [string, string | null][] = [
    ["encoder.block.0.layer.0.SelfAttention.q", "encoder 0 SelfAttention.q"],
    ["encoder.block.3.layer.0.layer_norm", "encoder 3 SelfAttention.norm"],
    ["encoder.block.3.layer.1.layer_norm", "encoder 3 DenseReluDense.norm"],
    ["encoder.block.3.layer.1.DenseReluDense.wi", "encoder 3 DenseReluDense.wi"],
    ["decoder.block.7.layer.1.EncDecAttention.v", "decoder 7 EncDecAttention.v"],
    ["decoder.block.7.layer.1.layer_norm", "decoder 7 EncDecAttention.norm"],
    ["decoder.block.7.layer.2.layer_norm", "decoder 7 DenseReluDense.norm"],
    ["decoder.block.11.layer.2.DenseReluDense.wi_1", "decoder 11 DenseReluDense.wi_1"],
    ["decoder.block.11.layer.2.DenseReluDense", "decoder 11 DenseReluDense"],
    ["decoder.block.11.layer.0.SelfAttention", "decoder 11 SelfAttention"],
    ["encoder.final_layer_norm", "encoder final final_norm"],
    ["lm_head", "decoder final lm_head"],
    ["encoder.block.0.layer.1.EncDecAttention.q", null],
    ["encoder.block.0.layer.2.layer_norm", null],
    ["encoder.block.x.layer.0.SelfAttention.q", null],
    ["shared", null],
  ];
  it.each(cases)("%s", (position, wanted) => {
    const found = locate(position);
    expect(found && `${found.stack} ${found.layer} ${found.row}`).toBe(wanted);
  });
});

const modules = [
  { position: "encoder.block.0.layer.0.SelfAttention.q", kind: "lora" },
  { position: "encoder.block.1.layer.0.SelfAttention.q", kind: "lora" },
  { position: "decoder.block.0.layer.1.EncDecAttention.v", kind: "lora" },
  { position: "decoder.block.1.layer.2.DenseReluDense.wo", kind: "lora" },
  { position: "decoder.final_layer_norm", kind: "bitfit" },
  { position: "encoder.block.1.layer.0.SelfAttention.q", kind: "bitfit" },
];

describe("grid", () => {
  const grid = buildGrid(modules, { encoder_layers: 2, decoder_layers: 2 });

  it("has a column per layer and one for a final norm that is there", () => {
    expect(grid.columns.map(({ stack, layer }) => `${stack[0]}${layer}`)).toEqual(["e0", "e1", "d0", "d1", "dfinal"]);
  });

  it("has a panel per kind, rows in the order of the forward pass", () => {
    expect(grid.panels.map((panel) => panel.kind)).toEqual(["lora", "bitfit"]);
    expect(grid.panels[0]!.rows).toEqual(["SelfAttention.q", "EncDecAttention.v", "DenseReluDense.wo"]);
  });

  it("tells a module, an absent position and no position apart", () => {
    expect(grid.panels[0]!.modules).toEqual([
      [0, 1, null, null, undefined],
      [undefined, undefined, 2, null, undefined],
      [null, null, null, 3, undefined],
    ]);
    expect(grid.panels[1]!.modules[1]).toEqual([undefined, undefined, undefined, undefined, 4]);
  });

  it("derives the depth without a shape", () => {
    const found = buildGrid([{ position: "encoder.block.5.layer.0.SelfAttention.k", kind: "lora" }]);
    expect(found.columns.length).toBe(6);
    expect(buildGrid([]).panels).toEqual([]);
  });

  it("sums rows and columns", () => {
    const totals = panelTotals(grid.panels[0]!, (module) => module + 1);
    expect(totals).toEqual({ rows: [3, 3, 4], columns: [1, 2, 3, 4, 0] });
  });

  it("counts T5-large's mix: 916 modules, each in one cell", () => {
    const places = mix(24, 24);
    const large = buildGrid(places, { encoder_layers: 24, decoder_layers: 24 });
    const cells = large.panels.flatMap((panel) => panel.modules.flat()).filter((cell) => typeof cell === "number");
    expect(places.length).toBe(916);
    expect(new Set(cells).size).toBe(916);
    expect(large.columns.length).toBe(50);
  });
});

describe("keyboard", () => {
  const grid = buildGrid(modules, { encoder_layers: 2, decoder_layers: 2 });
  const cases: [string, string, string][] = [
    ["0 0 0", "ArrowRight", "0 0 1"],
    ["0 0 1", "ArrowRight", "0 0 1"],
    ["0 0 1", "ArrowLeft", "0 0 0"],
    ["0 0 1", "ArrowDown", "0 1 2"],
    ["0 2 3", "ArrowDown", "1 0 1"],
    ["1 0 1", "ArrowUp", "0 2 3"],
    ["0 0 0", "ArrowUp", "0 0 0"],
    ["0 0 0", "End", "0 0 1"],
    ["0 0 1", "Home", "0 0 0"],
    ["1 1 4", "ArrowDown", "1 1 4"],
  ];
  it.each(cases)("%s %s → %s", (from, key, wanted) => {
    const [panel, row, column] = from.split(" ").map(Number) as [number, number, number];
    const at = step(grid, { panel, row, column }, key);
    expect(`${at.panel} ${at.row} ${at.column}`).toBe(wanted);
  });
});

function mix(encoder: number, decoder: number) {
  const places: { position: string; kind: string }[] = [];
  const add = (position: string, ...kinds: string[]) => kinds.forEach((kind) => places.push({ position, kind }));
  for (const [stack, layers] of [["encoder", encoder], ["decoder", decoder]] as const) {
    for (let block = 0; block < layers; block++) {
      const at = `${stack}.block.${block}.layer`;
      const last = stack === "decoder" ? 2 : 1;
      for (const name of "qkvo") add(`${at}.0.SelfAttention.${name}`, "lora", "bitfit");
      for (let layer = 0; layer <= last; layer++) add(`${at}.${layer}.layer_norm`, "lnfit", "bitfit");
      for (const name of ["wi", "wo"]) add(`${at}.${last}.DenseReluDense.${name}`, "lora", "bitfit");
      add(`${at}.0.SelfAttention`, "low_rank_adapter");
      add(`${at}.${last}.DenseReluDense`, "low_rank_adapter");
    }
    add(`${stack}.final_layer_norm`, "lnfit", "bitfit");
  }
  return places;
}
