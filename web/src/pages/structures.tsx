import type { StructureSummary } from "../api/types";
import { count, date } from "../format";
import { kindLabel } from "../heatmap/layout";
import { usePages } from "../hooks";
import { Empty, StructureLink, Wide } from "../parts/common";
import { ListPage, StartSearch } from "../parts/listpage";
import { useSetting } from "../router";

const NONE = "no source task";

export function StructuresPage() {
  const pages = usePages<StructureSummary>("/v1/structures");
  const empty = (
    <Empty title="No structure yet" command="s3delta search --task builtin-sentiment --budget 5.447%">
      <p>A search chooses the delta modules that suit a task best under a budget, and keeps them here. Run one:</p>
    </Empty>
  );
  return (
    <ListPage title="Structures" of={pages} action={<StartSearch />} empty={empty}>
      {(data) => <Structures of={data} />}
    </ListPage>
  );
}

function Structures({ of: data }: { of: StructureSummary[] }) {
  const [text, setText] = useSetting("q");
  const [task, setTask] = useSetting("source_task");
  const [space, setSpace] = useSetting("space");
  const tasks = unique(data.flatMap((one) => one.source_tasks));
  const spaces = unique(data.flatMap((one) => one.spaces));
  const shown = data.filter(
    (one) =>
      (!task || one.source_tasks.includes(task)) && (!space || one.spaces.includes(space)) && matches(one, text.toLowerCase()),
  );
  const groups = unique(shown.map(sourceOf));
  return (
    <>
      <div class="filters">
        <label>
          Find
          <input type="search" value={text} placeholder="id, task, kind …" onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <Select label="Source task" value={task} of={tasks} onChange={setTask} />
        <Select label="Space" value={space} of={spaces} onChange={setSpace} />
        <span class="quiet">
          {shown.length} of {data.length}
        </span>
      </div>
      <Wide>
        <table class="structures">
          <thead>
            <tr>
              <th>Structure</th>
              <th>Space</th>
              <th class="number">Budget</th>
              <th class="number">Modules</th>
              <th class="number">Parameters</th>
              <th>Kinds</th>
              <th>Origin</th>
              <th>Created</th>
            </tr>
          </thead>
          {groups.map((group) => (
            <tbody key={group}>
              <tr class="group">
                <th colSpan={8} scope="rowgroup">
                  {group}
                </th>
              </tr>
              {shown.filter((one) => sourceOf(one) === group).map((one) => (
                <tr key={one.id}>
                  <td>
                    <StructureLink id={one.id} />
                  </td>
                  <td>{one.spaces.join(", ") || "–"}</td>
                  <td class="number">{one.budget ? count(one.budget) : "–"}</td>
                  <td class="number">{count(one.modules)}</td>
                  <td class="number">{count(one.parameters)}</td>
                  <td class="quiet">
                    {Object.entries(one.by_kind)
                      .map(([kind, total]) => `${kindLabel(kind)} ${total.modules}`)
                      .join(" · ")}
                  </td>
                  <td>{one.origin}</td>
                  <td class="quiet">{date(one.created)}</td>
                </tr>
              ))}
            </tbody>
          ))}
        </table>
      </Wide>
      {shown.length === 0 && <p class="quiet">No structure matches the filter.</p>}
    </>
  );
}

const sourceOf = (one: StructureSummary): string => one.source_tasks.join(", ") || NONE;

const unique = (values: string[]): string[] => [...new Set(values)].sort((a, b) => Number(a === NONE) - Number(b === NONE) || a.localeCompare(b));

function matches(one: StructureSummary, text: string): boolean {
  const words = [one.id, one.origin, ...one.source_tasks, ...one.spaces, ...Object.keys(one.by_kind).map(kindLabel)];
  return !text || words.some((word) => word.toLowerCase().includes(text));
}

export function Select(props: { label: string; value: string; of: string[]; all?: string; onChange: (value: string) => void }) {
  return (
    <label>
      {props.label}
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        <option value="">{props.all ?? "all"}</option>
        {props.of.map((value) => (
          <option key={value} value={value}>
            {value}
          </option>
        ))}
      </select>
    </label>
  );
}
