import { useWidth } from "../hooks";

export interface Series {
  name: string;
  /** A class of style.css that sets the line's colour. */
  tone: "one" | "two" | "reference";
  values: readonly (number | null)[];
}

/** A small line chart over steps: axis ends, last values, and the same figures as text for screen readers. */
export function Chart({ title, steps, series, digits = 3, floor }: { title: string; steps: readonly number[]; series: Series[]; digits?: number; floor?: number }) {
  const [box, width] = useWidth<HTMLDivElement>();
  const height = 96;
  const all = series.flatMap((one) => one.values).filter((value) => value !== null);
  const low = Math.min(...all, floor ?? Number.POSITIVE_INFINITY);
  const high = Math.max(...all);
  const [first, last] = [steps[0] ?? 0, steps.at(-1) ?? 0];
  const right = 8;
  const x = (step: number) => 44 + ((step - first) / Math.max(1, last - first)) * (Math.max(width, 200) - 44 - right);
  const y = (value: number) => 8 + (1 - (value - low) / (high - low || 1)) * (height - 26);
  const write = (value: number) => (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : value.toFixed(digits));
  return (
    <figure class="chart" ref={box}>
      <figcaption>
        {title}
        {series.map((one) => {
          const now = one.values.findLast((value) => value !== null);
          return (
            <span key={one.name} class={`key ${one.tone}`}>
              {one.name} <strong>{now === undefined || now === null ? "–" : write(now)}</strong>
            </span>
          );
        })}
      </figcaption>
      {all.length > 0 && (
        <svg width="100%" height={height} role="img" aria-label={`${title}, steps ${first} to ${last}`}>
          <line class="axis" x1="44" x2={Math.max(width, 200) - right} y1={height - 17} y2={height - 17} />
          <text x="40" y={y(high) + 4} text-anchor="end">
            {write(high)}
          </text>
          {high > low && (
            <text x="40" y={y(low) + 2} text-anchor="end">
              {write(low)}
            </text>
          )}
          <text x="44" y={height - 4}>
            {`step ${first}`}
          </text>
          <text x={Math.max(width, 200) - right} y={height - 4} text-anchor="end">
            {last}
          </text>
          {series.map((one) => {
            const points = one.values.flatMap((value, index) => (value === null ? [] : [`${x(steps[index]!).toFixed(1)},${y(value).toFixed(1)}`]));
            return points.length === 1 ? (
              <circle key={one.name} class={one.tone} cx={points[0]!.split(",")[0]} cy={points[0]!.split(",")[1]} r="2.5" />
            ) : (
              <polyline key={one.name} class={one.tone} points={points.join(" ")} />
            );
          })}
        </svg>
      )}
    </figure>
  );
}
