import type { Adapter, StructureSummary, Task } from "../api/types";
import { count, date, plural, score, short } from "../format";
import { useLoad, usePages, useTitle } from "../hooks";
import { Command, Empty, Facts, Loading, Problem, StructureLink, Wide } from "../parts/common";
import { ListPage } from "../parts/listpage";
import { definitionOf, latest, targetText } from "../parts/tasks";

export function TasksPage() {
  const empty = (
    <Empty title="No task yet" command="s3delta tasks import TASK.toml --data DIR">
      <p>A task is a data set with a template, labels and a metric. Bring one of your own:</p>
    </Empty>
  );
  return (
    <ListPage title="Tasks" of={usePages<Task>("/v1/tasks")} empty={empty}>
      {(data) => (
        <Wide>
          <table>
            <thead>
              <tr>
                <th>Task</th>
                <th>Template</th>
                <th>Answers</th>
                <th>Metric</th>
                <th class="number">Train</th>
                <th class="number">Dev</th>
                <th class="number">Test</th>
              </tr>
            </thead>
            <tbody>
              {data.map((task) => (
                <tr key={task.name}>
                  <td>
                    <a href={`/tasks/${task.name}`}>{task.name}</a> {task.builtin && <span class="tag">built in</span>}
                  </td>
                  <td class="clip">
                    <code>{definitionOf(task).template}</code>
                  </td>
                  <td class="clip">{targetText(task)}</td>
                  <td>{definitionOf(task).metric}</td>
                  <td class="number">{count(task.rows.train)}</td>
                  <td class="number">{count(task.rows.dev)}</td>
                  <td class="number">{count(task.rows.test)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
    </ListPage>
  );
}

export function TaskPage({ name }: { name: string }) {
  useTitle(name);
  const { data: task, error, reload } = useLoad<Task>(`/v1/tasks/${encodeURIComponent(name)}`);
  const structures = usePages<StructureSummary>("/v1/structures", { source_task: name });
  const adapters = usePages<Adapter>("/v1/adapters");
  if (error && !task) return <Problem error={error} retry={reload} />;
  if (!task) return <Loading />;
  const definition = definitionOf(task);
  const mine = (adapters.data ?? []).filter((one) => latest(one)?.task?.name === name);
  return (
    <>
      <div class="title">
        <h1>{task.name}</h1>
        {task.builtin && <span class="tag">built in</span>}
        <a class="button" href={`/searches/new?task=${task.name}`}>
          Search on it
        </a>
      </div>
      {definition.description && <p>{definition.description}</p>}
      <Facts
        of={[
          ["Template", <code>{definition.template}</code>],
          ["Answers", targetText(task)],
          ["Metric", definition.metric],
          ["Rows", `${count(task.rows.train)} train, ${count(task.rows.dev)} dev, ${count(task.rows.test)} test`],
          ["Digest", <code title={task.digest}>{short(task.digest)}</code>],
          ["Stored", date(task.created)],
        ]}
      />
      <section>
        <h2>Structures searched on it</h2>
        {structures.data && structures.data.length > 0 ? (
          <ul class="plain">
            {structures.data.map((one) => (
              <li key={one.id}>
                <StructureLink id={one.id} /> {plural(one.modules, "module")}, {count(one.parameters)} parameters{" "}
                <span class="quiet">{[one.spaces.join(", "), one.origin, date(one.created)].filter(Boolean).join(" · ")}</span>
              </li>
            ))}
          </ul>
        ) : (
          <Command text={`s3delta search --task ${task.name} --budget 5.447%`} />
        )}
      </section>
      <section>
        <h2>Adapters for it</h2>
        {mine.length > 0 ? (
          <ul class="plain">
            {mine.map((one) => (
              <li key={one.name}>
                <a href={`/adapters/${one.name}`}>{one.name}</a>{" "}
                <span class="quiet">{latest(one)?.score && `${latest(one)!.score!.metric} ${score(latest(one)!.score!.value)}`}</span>
              </li>
            ))}
          </ul>
        ) : (
          <p class="quiet">None yet.</p>
        )}
      </section>
    </>
  );
}
