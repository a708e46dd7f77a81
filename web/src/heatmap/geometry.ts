// Sizes and places of the figure's parts, in CSS pixels.

import type { Grid } from "./layout";

const LABELS = 104;
const MARGIN = 74;
const HEAD = 46;
const FOOT = 34;
const GAP = 26;
const STACK_GAP = 14;
const LEGEND = 34;

export interface PanelBox {
  x: number;
  y: number;
  height: number;
}

export interface Geometry {
  width: number;
  height: number;
  /** Distance between two cells' left edges, and two cells' tops. */
  cellWidth: number;
  cellHeight: number;
  /** Left edge of each column, from the panel's left. */
  columnX: number[];
  /** Where the margin of row totals starts, and how long its longest bar is. */
  marginX: number;
  marginBar: number;
  head: number;
  foot: number;
  panels: PanelBox[];
  /** The panel of totals over all kinds, which has no rows; `null` with fewer than two kinds. */
  totals: PanelBox | null;
}

/** Fits the panels into `width`: side by side when cells stay large enough to hit, else one below the other. */
export function place(grid: Grid, width: number): Geometry {
  const columns = grid.columns.length;
  const stackGaps = grid.columns.some((_, index) => startsStack(grid, index)) ? STACK_GAP : 0;
  const side = LABELS + MARGIN + stackGaps;
  const fit = (abreast: number) => (width - (abreast - 1) * GAP * 1.5) / abreast - side;
  const abreast = grid.panels.length > 1 && fit(2) / columns >= 24 ? 2 : 1;
  const cellWidth = Math.max(11, Math.min(40, Math.floor(fit(abreast) / columns)));
  const cellHeight = Math.max(16, Math.min(22, cellWidth));
  const panelWidth = side + cellWidth * columns;
  const columnX: number[] = [];
  let x = LABELS;
  grid.columns.forEach((_, index) => {
    if (startsStack(grid, index)) x += STACK_GAP;
    columnX.push(x);
    x += cellWidth;
  });
  const bottoms = Array.from({ length: abreast }, () => LEGEND);
  const put = (rows: number): PanelBox => {
    const shortest = bottoms.indexOf(Math.min(...bottoms));
    const y = bottoms[shortest]!;
    const height = HEAD + rows * cellHeight + FOOT;
    bottoms[shortest] = y + height + GAP;
    return { x: shortest * (panelWidth + GAP * 1.5), y, height };
  };
  const panels = grid.panels.map((panel) => put(panel.rows.length));
  const totals = grid.panels.length > 1 ? put(0) : null;
  return {
    width: Math.max(400, abreast * panelWidth + (abreast - 1) * GAP * 1.5),
    height: Math.max(...bottoms) - (panels.length > 0 ? GAP : 0),
    cellWidth,
    cellHeight,
    columnX,
    marginX: x + 6,
    marginBar: MARGIN - 46,
    head: HEAD,
    foot: FOOT,
    panels,
    totals,
  };
}

/** Whether the decoder starts at this column. */
export function startsStack(grid: Grid, column: number): boolean {
  return column > 0 && grid.columns[column]!.stack !== grid.columns[column - 1]!.stack;
}

/** Every how many layers a label fits. */
export function labelEvery(cellWidth: number): number {
  return cellWidth >= 15 ? 1 : 4;
}
