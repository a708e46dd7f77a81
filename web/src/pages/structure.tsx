import { useMemo, useRef, useState } from "preact/hooks";
import { type ApiError, post } from "../api/client";
import type { Provenance, Structure, StructureSummary } from "../api/types";
import { count, date, decimal, percent, plural, short } from "../format";
import { Heatmap, type HeatmapModule } from "../heatmap/Heatmap";
import { csv, pngBlob, save, svgBlob, svgText } from "../heatmap/export";
import { buildGrid } from "../heatmap/layout";
import { parametersOf } from "../heatmap/sizes";
import { useDark, useLoad, usePages, useTitle } from "../hooks";
import { BudgetControl } from "../parts/budget";
import { Choice, Command, Copy, Facts, JobLink, Loading, Problem, StructureLink } from "../parts/common";
import { ModuleTable } from "../parts/moduletable";
import { navigate, useSetting } from "../router";
import { type Selection, atBudget, choose, exactIsFeasible, logit, sumChosen, total } from "../selection";

/** A structure as the figure needs it: every module of its space, or only its own if no search told their p. */
export interface View {
  modules: HeatmapModule[];
  p: (number | null)[];
  /** Standard deviation of p over the seeds. */
  deviation: (number | null)[];
  /** The logits of each seed's p, −∞ where it pruned. */
  searches: number[][];
  sizes: number[];
  stored: boolean[];
}

const key = (module: HeatmapModule): string => `${module.position} ${module.kind}`;

export function viewOf(structure: Structure, provenance?: Provenance): View {
  const own = new Set(structure.modules.map(key));
  const known = provenance?.probabilities ?? [];
  if (known.length > 0) {
    const modules = known.map((entry) => entry.module);
    const seeds = known[0]!.logits?.length ?? 0;
    const of = (seed: number) => known.map((entry) => entry.logits?.[seed] ?? -Infinity);
    return {
      modules,
      p: known.map((entry) => entry.p),
      deviation: known.map((entry) => entry.deviation ?? null),
      searches: seeds > 0 ? Array.from({ length: seeds }, (_, seed) => of(seed)) : [known.map((entry) => logit(entry.p))],
      sizes: known.map((entry) => entry.parameters),
      stored: modules.map((module) => own.has(key(module))),
    };
  }
  return {
    modules: structure.modules,
    p: structure.modules.map(() => null),
    deviation: structure.modules.map(() => null),
    searches: [],
    sizes: structure.modules.map((module) => parametersOf(module, structure.shape)),
    stored: structure.modules.map(() => true),
  };
}

/** The newest provenance that tells p, else the newest. */
function searched(structure: Structure): number {
  const all = structure.provenance ?? [];
  const found = all.findLastIndex((one) => (one.probabilities ?? []).length > 0);
  return found >= 0 ? found : all.length - 1;
}

export function StructurePage({ id }: { id: string }) {
  useTitle(`Structure ${short(id)}`);
  const { data, error, reload } = useLoad<Structure>(`/v1/structures/${encodeURIComponent(id)}`);
  const [otherId] = useSetting("compare");
  const other = useLoad<Structure>(otherId ? `/v1/structures/${encodeURIComponent(otherId)}` : null);
  if (error && !data) return <Problem error={error} retry={reload} />;
  if (!data) return <Loading />;
  return (
    <>
      <StructureView structure={data} other={other.data} />
      {other.error && <Problem error={other.error} />}
    </>
  );
}

function StructureView({ structure, other }: { structure: Structure; other: Structure | null }) {
  const dark = useDark();
  const svg = useRef<SVGSVGElement | null>(null);
  const [from, setFrom] = useSetting("from");
  const [mode, setMode] = useSetting("view");
  const [measure, setMeasure] = useSetting("totals");
  const [selection, setSelection] = useSetting("selection");
  const [budgetText, setBudget] = useSetting("budget");
  const all = structure.provenance ?? [];
  const index = from === "" ? searched(structure) : Math.min(Number(from) || 0, all.length - 1);
  const provenance = all[index];
  const view = useMemo(() => viewOf(structure, provenance), [structure, provenance]);
  const space = total(view.sizes);
  const hasP = view.p.some((p) => p !== null);
  const shownMeasure = measure === "parameters" || measure === "chosen" ? measure : hasP ? "p" : "chosen";
  const stored = provenance?.budget ?? sumChosen(view.sizes, view.stored);
  const budget = budgetText === "" ? stored : Math.min(space, Math.max(0, Math.round(Number(budgetText)) || 0));
  const by: Selection = selection === "greedy" ? "greedy" : "exact";
  const feasible = by === "greedy" || exactIsFeasible(view.sizes, budget);
  const asStored = !hasP || (budgetText === "" && selection === "");
  const p = useMemo(() => {
    const withoutShift = typeof (provenance?.settings as { l0?: number } | undefined)?.l0 === "number"; // the L0 control
    if (asStored || budget === provenance?.budget || withoutShift) return view.p;
    return atBudget(view.searches, view.sizes, budget);
  }, [asStored, view, provenance, budget]);
  const chosen = useMemo(
    () => (asStored ? view.stored : choose(feasible ? by : "greedy", p as number[], view.sizes, budget)),
    [asStored, view, p, by, feasible, budget],
  );
  const grid = useMemo(() => buildGrid(view.modules, structure.shape), [view, structure.shape]);
  const compared = useMemo(() => (other ? align(view, other) : null), [view, other]);
  const picked = chosen.filter(Boolean).length;
  const used = sumChosen(view.sizes, chosen);
  const changed = chosen.filter((one, at) => one !== view.stored[at]).length;
  const name = `structure-${short(structure.id)}`;
  const task = provenance?.source_task;

  const exports: [string, () => void | Promise<void>][] = [
    ["SVG", () => save(`${name}.svg`, svgBlob(svgText(svg.current!, dark)))],
    ["PNG", async () => save(`${name}.png`, await pngBlob(svgText(svg.current!, dark)))],
    ["CSV", () => save(`${name}.csv`, new Blob([csv(view.modules, p, view.sizes, chosen)], { type: "text/csv" }))],
    ["JSON", () => save(`${name}.json`, new Blob([JSON.stringify(structure, null, 2)], { type: "application/json" }))],
  ];
  return (
    <>
      <div class="title">
        <h1>
          Structure <span class="id">{short(structure.id)}</span>
        </h1>
        <Copy text={structure.id} label="Copy id" />
      </div>
      <Facts
        of={[
          ["Source task", task && <a href={`/tasks/${task}`}>{task}</a>],
          ["Modules", plural(structure.modules.length, "module")],
          ["Parameters", count(sumChosen(view.sizes, view.stored))],
          ["Budget", provenance?.budget && count(provenance.budget)],
          ["Space", provenance?.space && `${provenance.space}, ${plural(view.modules.length, "module")}, ${count(space)} parameters`],
          ["Origin", provenance?.origin],
          ["Backbone shape", `${structure.shape.family} ${structure.shape.encoder_layers}+${structure.shape.decoder_layers}, d_model ${structure.shape.d_model}`],
          ["Created", date(provenance?.created)],
        ]}
      />
      <section class="card" aria-label="Probabilities">
        <div class="toolbar">
          <Choice label="View" value={mode === "table" ? "table" : "heatmap"} of={[["heatmap", "Heatmap"], ["table", "Table"]]} onChange={(value) => setMode(value === "table" ? value : "")} />
          <label>
            Totals
            <select value={shownMeasure} onChange={(event) => setMeasure(event.currentTarget.value)}>
              {hasP && <option value="p">sum of p</option>}
              <option value="chosen">chosen modules</option>
              <option value="parameters">chosen parameters</option>
            </select>
          </label>
          {all.length > 1 && (
            <label>
              Found by
              <select value={String(index)} onChange={(event) => setFrom(event.currentTarget.value)}>
                {all.map((one, at) => (
                  <option key={at} value={String(at)}>
                    {[one.origin, one.source_task, one.space, date(one.created)].filter(Boolean).join(" · ")}
                  </option>
                ))}
              </select>
            </label>
          )}
          <CompareSelect id={structure.id} />
          <div class="line end" role="group" aria-label="Export">
            <span class="quiet">Export</span>
            {exports.map(([label, run]) => (
              <button key={label} class="small" disabled={mode === "table" && (label === "SVG" || label === "PNG")} onClick={() => void run()}>
                {label}
              </button>
            ))}
          </div>
        </div>
        {hasP && (
          <BudgetControl
            sizes={view.sizes}
            stored={stored}
            budget={budget}
            selection={by}
            onBudget={(value) => setBudget(value === null ? "" : String(value))}
            onSelection={(value) => setSelection(value === "exact" && budgetText === "" ? "" : value)}
            onReset={() => {
              setBudget("");
              setSelection("");
            }}
            changed={!asStored}
          />
        )}
        <p class="outcome" role="status">
          <strong>{plural(picked, "module")}</strong> chosen, {count(used)} parameters
          {space > 0 && hasP && ` (${percent(used / space)} of the space)`}
          {hasP && `, Σp ${decimal(sumChosen(p as number[], chosen), 3)}`}
          {!asStored && (changed === 0 ? ". The same as stored." : `. ${plural(changed, "module")} differ${changed === 1 ? "s" : ""} from the stored structure.`)}
          {!feasible && " Exact is too large for the browser at this budget, so this is greedy."}
          {!hasP && ". No search told the probabilities of this structure, so only its own modules are shown."}
        </p>
        {mode === "table" ? (
          <ModuleTable modules={view.modules} p={p} deviation={p === view.p ? view.deviation : undefined} sizes={view.sizes} chosen={chosen} />
        ) : (
          <Heatmap
            grid={grid}
            modules={view.modules}
            p={p}
            chosen={chosen}
            sizes={view.sizes}
            other={compared}
            measure={shownMeasure}
            label={`Probability of each delta module of structure ${short(structure.id)}`}
            svg={svg}
          />
        )}
      </section>
      {!asStored && changed > 0 && picked > 0 && provenance && (
        <KeepChoice structure={structure} provenance={provenance} p={p as number[]} chosen={chosen} budget={budget} />
      )}
      <section>
        <h2>Use it</h2>
        <p>Train its delta weights on a task and serve them:</p>
        <Command text={`s3delta retrain --structure ${short(structure.id)} --task ${task ?? "TASK"}`} />
        <p>Or see how it does on another task:</p>
        <Command text={`s3delta transfer --from ${short(structure.id)} --to TASK`} />
      </section>
      <section>
        <h2>Where it came from</h2>
        {all.map((one, at) => (
          <Facts
            key={at}
            of={[
              ["Origin", one.origin],
              ["When", date(one.created)],
              ["Source task", one.source_task],
              ["Job", one.job && <JobLink id={one.job} />],
              ["Seeds", (one.seeds ?? []).join(", ")],
              ["Made from", (one.parents ?? []).length > 0 && (one.parents ?? []).map((parent) => <StructureLink key={parent} id={parent} />)],
              ["Backbone", one.backbone_digest && <code title={one.backbone_digest}>{short(one.backbone_digest)}</code>],
              ["Settings", one.settings && Object.keys(one.settings).length > 0 && <code>{JSON.stringify(one.settings)}</code>],
            ]}
          />
        ))}
      </section>
    </>
  );
}

/** Stores the choice at this budget as a structure of its own: the same search's p, chosen anew. */
function KeepChoice(props: { structure: Structure; provenance: Provenance; p: number[]; chosen: boolean[]; budget: number }) {
  const { structure, provenance, p, chosen, budget } = props;
  const [error, setError] = useState<ApiError | null>(null);
  const keep = () => {
    const probabilities = provenance.probabilities ?? [];
    const modules = probabilities.filter((_, index) => chosen[index]).map((entry) => entry.module);
    // shifted here, p are no longer those of the logits that each seed's search told
    const same = probabilities.every((entry, index) => entry.p === p[index]);
    const shifted = same ? probabilities : probabilities.map((entry, index) => ({ ...entry, p: p[index]!, deviation: undefined, logits: undefined }));
    const made = { ...provenance, created: new Date().toISOString(), parents: [structure.id], budget, note: undefined, objective: undefined, probabilities: shifted };
    const { format, shape } = structure;
    post<Structure>("/v1/structures", { format, shape, modules, provenance: [made] }).then(
      (stored) => navigate(`/structures/${stored.id}`),
      setError,
    );
  };
  return (
    <div class="line">
      <button onClick={keep}>Keep this choice as a structure</button>
      {error && <Problem error={error} />}
    </div>
  );
}

/** The other structure's p and choice for the modules of this view. */
function align(view: View, other: Structure) {
  const theirs = viewOf(other, (other.provenance ?? [])[searched(other)]);
  const at = new Map(theirs.modules.map((module, index) => [key(module), index]));
  const find = <T,>(values: readonly T[], otherwise: T) => view.modules.map((module) => {
    const index = at.get(key(module));
    return index === undefined ? otherwise : values[index]!;
  });
  return { name: short(other.id), p: find(theirs.p, null), chosen: find(theirs.stored, false) };
}

function CompareSelect({ id }: { id: string }) {
  const [compare, setCompare] = useSetting("compare");
  const { data } = usePages<StructureSummary>("/v1/structures");
  const others = (data ?? []).filter((one) => one.id !== id);
  if (others.length === 0 && !compare) return null;
  return (
    <label>
      Compare with
      <select value={compare} onChange={(event) => setCompare(event.currentTarget.value)}>
        <option value="">nothing</option>
        {compare && !others.some((one) => one.id === compare) && <option value={compare}>{short(compare)}</option>}
        {others.map((one) => (
          <option key={one.id} value={one.id}>
            {[short(one.id), one.source_tasks.join(", "), one.spaces.join(", "), plural(one.modules, "module")].filter(Boolean).join(" · ")}
          </option>
        ))}
      </select>
    </label>
  );
}
