// The heatmap: one panel per kind, columns are layers, rows are positions; colour is p, an outline is a chosen module.
// Everything that an export must carry is in the SVG's own attributes; styles of the page only add the pointer.

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { count, decimal, plural } from "../format";
import { useDark, useWidth } from "../hooks";
import { DARK, LIGHT, type Theme, diverging, sequential } from "./colours";
import { type Geometry, type PanelBox, labelEvery, place, startsStack } from "./geometry";
import { type At, type Grid, columnLabel, kindLabel, panelTotals, rowLabel, step } from "./layout";

export interface HeatmapModule {
  position: string;
  kind: string;
  rank?: number | null;
  alpha?: number | null;
  bottleneck?: number | null;
}

export type Measure = "p" | "chosen" | "parameters";

export interface HeatmapProps {
  grid: Grid;
  modules: readonly HeatmapModule[];
  /** p of each module; `null` where nothing is known, as in an uploaded structure. */
  p: readonly (number | null)[];
  /** Which modules are outlined; `null` if nothing is chosen yet. */
  chosen: readonly boolean[] | null;
  /** Parameters of each module, if known. */
  sizes: readonly number[] | null;
  /** Another structure over the same modules: colour is then the difference of p. */
  other?: { name: string; p: readonly (number | null)[]; chosen: readonly boolean[] } | null;
  measure: Measure;
  label: string;
  svg?: { current: SVGSVGElement | null };
}

const FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif";
const MEASURES: Record<Measure, string> = { p: "Σp", chosen: "modules", parameters: "params" };

export function Heatmap(props: HeatmapProps) {
  const { grid, modules, p, chosen, sizes, other, measure } = props;
  const theme = useDark() ? DARK : LIGHT;
  const [box, width] = useWidth<HTMLDivElement>();
  const own = useRef<SVGSVGElement | null>(null);
  const svg = props.svg ?? own;
  const geometry = useMemo(() => place(grid, width || 960), [grid, width]);
  const where = useMemo(() => whereabouts(grid), [grid]);
  const [pointed, setPointed] = useState<number | null>(null);
  const [active, setActive] = useState<number | null>(null);
  const [focused, setFocused] = useState(false);
  useEffect(() => {
    setPointed(null);
    setActive(null);
  }, [grid]);

  const figure = useMemo(
    () => <Figure {...{ grid, geometry, theme, modules, p, chosen, sizes, other: other ?? null, measure }} />,
    [grid, geometry, theme, modules, p, chosen, sizes, other, measure],
  );
  const shown = pointed ?? (focused ? active : null);
  const at = shown === null ? undefined : where.get(shown);

  const onPointer = (event: PointerEvent) => {
    const module = (event.target as Element).getAttribute?.("data-module");
    setPointed(module === null || module === undefined ? null : Number(module));
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Escape") return setPointed(null);
    const from = active === null ? undefined : where.get(active);
    if (!from) return;
    const to = step(grid, from, event.key);
    if (to === from && !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    setPointed(null);
    const next = grid.panels[to.panel]!.modules[to.row]![to.column]!;
    setActive(next);
    svg.current?.querySelector(`[data-module="${next}"]`)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const onFocus = () => {
    setFocused(true);
    setActive((old) => old ?? where.keys().next().value ?? null);
  };

  return (
    <div class="heatmap" ref={box}>
      <svg
        ref={svg}
        width={geometry.width}
        height={geometry.height}
        viewBox={`0 0 ${geometry.width} ${geometry.height}`}
        font-family={FONT}
        font-size="11"
        role="grid"
        aria-label={`${props.label}. Use the arrow keys to go from module to module.`}
        aria-activedescendant={focused && active !== null ? `module-${active}` : undefined}
        tabIndex={0}
        onPointerMove={onPointer}
        onPointerDown={onPointer}
        onPointerLeave={() => setPointed(null)}
        onKeyDown={onKey}
        onFocus={onFocus}
        onBlur={() => setFocused(false)}
      >
        {figure}
        {at && <Ring geometry={geometry} at={at} theme={theme} />}
      </svg>
      {at && shown !== null && (
        <Tip geometry={geometry} at={at} width={width}>
          <Description {...props} module={shown} at={at} />
        </Tip>
      )}
    </div>
  );
}

function whereabouts(grid: Grid): Map<number, At> {
  const found = new Map<number, At>();
  grid.panels.forEach(({ modules }, panel) =>
    modules.forEach((line, row) =>
      line.forEach((module, column) => typeof module === "number" && found.set(module, { panel, row, column })),
    ),
  );
  return found;
}

type FigureProps = Pick<HeatmapProps, "grid" | "modules" | "p" | "chosen" | "sizes" | "measure"> & {
  geometry: Geometry;
  theme: Theme;
  other: NonNullable<HeatmapProps["other"]> | null;
};

function Figure(props: FigureProps) {
  const { grid, geometry, theme, p, chosen, sizes, measure } = props;
  const value = (module: number): number => {
    if (measure === "p") return p[module] ?? 0;
    if (!chosen?.[module]) return 0;
    return measure === "parameters" ? (sizes?.[module] ?? 0) : 1;
  };
  const totals = grid.panels.map((panel) => panelTotals(panel, value));
  const columns = grid.columns.map((_, column) => totals.reduce((sum, one) => sum + one.columns[column]!, 0));
  const most = { row: Math.max(0, ...totals.flatMap((one) => one.rows)), column: Math.max(0, ...totals.flatMap((one) => one.columns)) };
  return (
    <g>
      <defs>
        <pattern id="absent" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <line x1="0" y1="0" x2="0" y2="5" stroke={theme.faint} stroke-width="1.5" />
        </pattern>
      </defs>
      <Legend {...props} />
      {grid.panels.map((panel, index) => {
        const box = geometry.panels[index]!;
        const inPanel = panel.modules.flat().filter((module) => typeof module === "number");
        const picked = inPanel.filter((module) => chosen?.[module]);
        const note = chosen ? `${count(picked.length)} of ${count(inPanel.length)} chosen` : plural(inPanel.length, "module");
        const used = grid.columns.map((_, column) => panel.modules.some((line) => line[column] !== undefined));
        return (
          <g key={panel.kind} transform={`translate(${box.x} ${box.y})`} role="rowgroup" aria-label={`${kindLabel(panel.kind)}: ${note}`}>
            <Head {...props} title={kindLabel(panel.kind)} note={note} used={used} />
            {panel.rows.map((row, line) => (
              <Row key={row} {...props} row={row} line={panel.modules[line]!} y={geometry.head + line * geometry.cellHeight} />
            ))}
            <RowTotals {...props} totals={totals[index]!.rows} most={most.row} />
            <ColumnTotals {...props} totals={totals[index]!.columns} most={most.column} y={geometry.head + panel.rows.length * geometry.cellHeight} />
          </g>
        );
      })}
      {geometry.totals && (
        <g transform={`translate(${geometry.totals.x} ${geometry.totals.y})`} aria-hidden="true">
          <Head {...props} title="All kinds" note={`${MEASURES[measure]} by layer`} used={grid.columns.map(() => true)} />
          <ColumnTotals {...props} totals={columns} most={Math.max(0, ...columns)} y={geometry.head} />
        </g>
      )}
    </g>
  );
}

function Head({ grid, geometry, theme, title, note, used, measure }: FigureProps & { title: string; note: string; used: boolean[] }) {
  const every = labelEvery(geometry.cellWidth);
  return (
    <g aria-hidden="true">
      <text x="0" y="13" font-size="13" font-weight="600" fill={theme.ink}>
        {title}
        <tspan dx="8" font-size="11" font-weight="400" fill={theme.quiet}>
          {note}
        </tspan>
      </text>
      {grid.columns.map((column, index) => {
        const x = geometry.columnX[index]!;
        const first = index === 0 || startsStack(grid, index);
        const label = !used[index] ? "" : column.layer === "final" ? "fin" : column.layer % every === 0 ? String(column.layer) : "";
        return (
          <g key={index}>
            {first && (
              <text x={x + 1} y="28" font-size="10" fill={theme.quiet}>
                {column.stack}
              </text>
            )}
            <text x={x + geometry.cellWidth / 2} y="41" font-size="10" text-anchor="middle" fill={theme.quiet}>
              {label}
            </text>
          </g>
        );
      })}
      <text x={geometry.marginX + 2} y="41" font-size="10" fill={theme.quiet}>
        {title === "All kinds" ? "" : MEASURES[measure]}
      </text>
    </g>
  );
}

function Row(props: FigureProps & { row: string; line: readonly (number | null | undefined)[]; y: number }) {
  const { grid, geometry, theme, modules, p, chosen, other, row, line, y } = props;
  const { cellWidth, cellHeight } = geometry;
  return (
    <g role="row">
      <text x={geometry.columnX[0]! - 8} y={y + cellHeight / 2} dominant-baseline="central" text-anchor="end" fill={theme.ink} role="rowheader">
        {rowLabel(row)}
      </text>
      {line.map((module, column) => {
        if (module === undefined) return null;
        const box = { x: geometry.columnX[column]! + 1.5, y: y + 1.5, width: cellWidth - 3, height: cellHeight - 3, rx: 2 };
        if (module === null) return <rect key={column} {...box} fill="url(#absent)" />;
        const outlined = chosen?.[module] || other?.chosen[module];
        return (
          <>
            <rect
              key={column}
              {...box}
              fill={fill(props, module)}
              id={`module-${module}`}
              data-module={module}
              role="gridcell"
              aria-label={spoken(modules[module]!, p[module] ?? null, chosen?.[module] ?? false, columnLabel(grid.columns[column]!), row)}
            />
            {outlined && (
              <rect
                key={`${column} outline`}
                x={box.x - 0.5}
                y={box.y - 0.5}
                width={box.width + 1}
                height={box.height + 1}
                rx="2.5"
                fill="none"
                stroke={theme.ink}
                stroke-width="2"
                stroke-dasharray={chosen?.[module] ? undefined : "2.5 2.5"}
                pointer-events="none"
                data-outline={chosen?.[module] ? "chosen" : "other"}
              />
            )}
          </>
        );
      })}
    </g>
  );
}

function fill({ p, other, theme }: FigureProps, module: number): string {
  const own = p[module] ?? null;
  if (other) {
    const theirs = other.p[module] ?? null;
    return own === null || theirs === null ? theme.unknown : diverging(theme, own - theirs);
  }
  return own === null ? theme.unknown : sequential(theme, own);
}

function spoken(module: HeatmapModule, p: number | null, chosen: boolean, column: string, row: string): string {
  const known = p === null ? "p unknown" : `p ${p.toFixed(3)}`;
  return `${kindLabel(module.kind)}, ${column}, ${rowLabel(row)}: ${known}${chosen ? ", chosen" : ""}`;
}

function RowTotals({ geometry, theme, totals, most, measure }: FigureProps & { totals: number[]; most: number }) {
  return (
    <g aria-hidden="true">
      {totals.map((total, row) => {
        const y = geometry.head + row * geometry.cellHeight;
        const length = most > 0 ? (total / most) * geometry.marginBar : 0;
        return (
          <g key={row}>
            <rect x={geometry.marginX} y={y + 3} width={length} height={geometry.cellHeight - 6} fill={theme.bar} />
            <text x={geometry.marginX + length + 4} y={y + geometry.cellHeight / 2} dominant-baseline="central" font-size="10" fill={theme.quiet}>
              {figureOf(total, measure)}
            </text>
          </g>
        );
      })}
    </g>
  );
}

function ColumnTotals({ grid, geometry, theme, totals, most, y, measure }: FigureProps & { totals: number[]; most: number; y: number }) {
  const room = geometry.foot - 12;
  const written = geometry.cellWidth >= 22;
  return (
    <g aria-hidden="true">
      {totals.map((total, column) => {
        const x = geometry.columnX[column]!;
        const length = most > 0 ? (total / most) * (room - 4) : 0;
        return (
          <g key={column}>
            <title>{`${columnLabel(grid.columns[column]!)}: ${figureOf(total, measure)} ${MEASURES[measure]}`}</title>
            <rect x={x + 2.5} y={y + 3} width={geometry.cellWidth - 5} height={length} fill={theme.bar} />
            {written && total > 0 && (
              <text x={x + geometry.cellWidth / 2} y={y + length + 12} text-anchor="middle" font-size="9" fill={theme.quiet}>
                {figureOf(total, measure)}
              </text>
            )}
          </g>
        );
      })}
    </g>
  );
}

function figureOf(value: number, measure: Measure): string {
  if (measure === "p") return value >= 10 ? value.toFixed(0) : value.toFixed(value >= 1 ? 1 : 2);
  if (value >= 100_000) return `${(value / 1000).toFixed(0)}k`;
  return value >= 1000 ? `${(value / 1000).toFixed(1)}k` : String(value);
}

function Legend({ theme, p, chosen, other }: FigureProps) {
  const steps = 24;
  const width = 168;
  if (p.every((one) => one === null)) {
    return (
      <g aria-hidden="true" transform="translate(0 2)">
        <rect x="1" y="0.5" width="12" height="11" rx="2.5" fill={theme.unknown} stroke={theme.ink} stroke-width="2" />
        <text x="20" y="10" fill={theme.ink}>
          chosen, p not known
        </text>
        <rect x="146" y="0" width="13" height="12" rx="2" fill="url(#absent)" />
        <text x="165" y="10" fill={theme.ink}>
          not in the structure
        </text>
      </g>
    );
  }
  const ticks = other ? ["−1", "0", "+1"] : ["0", "0.25", "0.5", "0.75", "1"];
  return (
    <g aria-hidden="true" transform="translate(0 2)">
      <text x="0" y="10" fill={theme.ink}>
        {other ? "Δp" : "p"}
      </text>
      {Array.from({ length: steps }, (_, index) => {
        const at = (index + 0.5) / steps;
        const colour = other ? diverging(theme, at * 2 - 1) : sequential(theme, at);
        return <rect key={index} x={20 + (index * width) / steps} y="1" width={width / steps + 0.5} height="10" fill={colour} />;
      })}
      {ticks.map((tick, index) => (
        <text key={tick} x={20 + (index * width) / (ticks.length - 1)} y="22" text-anchor="middle" font-size="9" fill={theme.quiet}>
          {tick}
        </text>
      ))}
      <rect x="208" y="0" width="13" height="12" rx="2" fill="url(#absent)" />
      <text x="227" y="10" fill={theme.ink}>
        not in the space
      </text>
      {chosen && (
        <>
          <rect x="326" y="0.5" width="12" height="11" rx="2.5" fill="none" stroke={theme.ink} stroke-width="2" />
          <text x="344" y="10" fill={theme.ink}>
            chosen
          </text>
        </>
      )}
      {other && (
        <>
          <rect x="396" y="0.5" width="12" height="11" rx="2.5" fill="none" stroke={theme.ink} stroke-width="2" stroke-dasharray="2.5 2.5" />
          <text x="414" y="10" fill={theme.ink}>
            {`chosen only in ${other.name}`}
          </text>
        </>
      )}
    </g>
  );
}

function corner(geometry: Geometry, at: At): { x: number; y: number } {
  const box: PanelBox = geometry.panels[at.panel]!;
  return { x: box.x + geometry.columnX[at.column]!, y: box.y + geometry.head + at.row * geometry.cellHeight };
}

function Ring({ geometry, at, theme }: { geometry: Geometry; at: At; theme: Theme }) {
  const { x, y } = corner(geometry, at);
  return (
    <rect
      x={x - 1}
      y={y - 1}
      width={geometry.cellWidth + 2}
      height={geometry.cellHeight + 2}
      rx="4"
      fill="none"
      stroke={theme === DARK ? "#ffb454" : "#d9730d"}
      stroke-width="2"
      pointer-events="none"
      data-transient
    />
  );
}

function Tip({ geometry, at, width, children }: { geometry: Geometry; at: At; width: number; children: ComponentChildren }) {
  const { x, y } = corner(geometry, at);
  const left = Math.max(4, Math.min(x + geometry.cellWidth + 10, Math.max(width, 320) - 300));
  return (
    <div class="tip" style={{ left: `${left}px`, top: `${y + geometry.cellHeight + 8}px` }}>
      {children}
    </div>
  );
}

function Description({ modules, p, chosen, sizes, other, module, grid, at }: HeatmapProps & { module: number; at: At }) {
  const { position, kind, rank, alpha, bottleneck } = modules[module]!;
  const settings = [
    rank != null && `rank ${rank}`,
    alpha != null && `alpha ${alpha}`,
    bottleneck != null && `bottleneck ${bottleneck}`,
  ].filter(Boolean);
  const row = grid.panels[at.panel]!.rows[at.row]!;
  const theirs = other?.p[module] ?? null;
  return (
    <>
      <strong>
        {kindLabel(kind)} · {columnLabel(grid.columns[at.column]!)} · {rowLabel(row)}
      </strong>
      <code>{position}</code>
      <span>
        p = {decimal(p[module])}
        {other && ` here, ${decimal(theirs)} in ${other.name}`}
      </span>
      <span>
        {sizes && `${count(sizes[module]!)} parameters`}
        {settings.length > 0 && ` · ${settings.join(", ")}`}
      </span>
      {chosen && (
        <span>
          {chosen[module] ? "chosen" : "not chosen"}
          {other && (other.chosen[module] ? `; chosen in ${other.name}` : `; not in ${other.name}`)}
        </span>
      )}
    </>
  );
}
