import { useMemo, useState } from "preact/hooks";
import { count, decimal } from "../format";
import type { HeatmapModule } from "../heatmap/Heatmap";
import { kindLabel } from "../heatmap/layout";
import { Wide } from "./common";

type Order = "place" | "p" | "parameters" | "chosen";

/** The heatmap's data as a table, for reading, copying and screen readers. */
export function ModuleTable(props: {
  modules: readonly HeatmapModule[];
  p: readonly (number | null)[];
  /** Standard deviation of p over the seeds, where there are several. */
  deviation?: readonly (number | null)[];
  sizes: readonly number[];
  chosen: readonly boolean[];
}) {
  const { modules, p, sizes, chosen } = props;
  const deviation = props.deviation?.some((one) => one !== null) ? props.deviation : null;
  const [order, setOrder] = useState<Order>("place");
  const rows = useMemo(() => {
    const value = (index: number) => (order === "p" ? (p[index] ?? -1) : order === "parameters" ? sizes[index]! : Number(chosen[index]));
    const all = modules.map((_, index) => index);
    return order === "place" ? all : all.sort((a, b) => value(b) - value(a) || a - b);
  }, [order, modules, p, sizes, chosen]);
  const heading = (name: Order, label: string, number = false) => (
    <th class={number ? "number" : ""} aria-sort={order === name ? (name === "place" ? "ascending" : "descending") : "none"}>
      <button class="sort" onClick={() => setOrder(name)}>
        {label}
        {order === name && <span aria-hidden="true">{name === "place" ? " ↑" : " ↓"}</span>}
      </button>
    </th>
  );
  return (
    <Wide>
      <table>
        <thead>
          <tr>
            {heading("place", "Position")}
            <th>Kind</th>
            {heading("parameters", "Parameters", true)}
            {heading("p", "p", true)}
            {deviation && <th class="number">± over seeds</th>}
            {heading("chosen", "Chosen")}
          </tr>
        </thead>
        <tbody>
          {rows.map((index) => (
            <tr key={index} class={chosen[index] ? "chosen" : ""}>
              <td>
                <code>{modules[index]!.position}</code>
              </td>
              <td>{kindLabel(modules[index]!.kind)}</td>
              <td class="number">{count(sizes[index]!)}</td>
              <td class="number">{decimal(p[index])}</td>
              {deviation && <td class="number">{decimal(deviation[index])}</td>}
              <td>{chosen[index] ? "yes" : "no"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Wide>
  );
}
