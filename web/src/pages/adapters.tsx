import type { Adapter, Task } from "../api/types";
import { count, date, plural, score, short } from "../format";
import { useLoad, usePages, useTitle } from "../hooks";
import { Command, Empty, Facts, JobLink, Loading, Problem, StructureLink, Wide } from "../parts/common";
import { ListPage } from "../parts/listpage";
import { latest } from "../parts/tasks";
import { CompleteBox, PredictBox } from "../parts/trybox";
import { useLocation, useSetting } from "../router";

const NoAdapter = () => (
  <Empty title="No adapter yet" command="s3delta search --task builtin-sentiment --budget 5.447%">
    <p>A search re-trains the structure that it finds and keeps it as an adapter. Run one:</p>
  </Empty>
);

export function AdaptersPage() {
  return (
    <ListPage title="Adapters" of={usePages<Adapter>("/v1/adapters")} empty={<NoAdapter />}>
      {(data) => <Adapters of={data} />}
    </ListPage>
  );
}

function Adapters({ of: adapters }: { of: Adapter[] }) {
  const [text, setText] = useSetting("q");
  const shown = adapters.filter((one) => `${one.name} ${latest(one)?.task?.name ?? ""}`.toLowerCase().includes(text.toLowerCase()));
  return (
    <>
      <div class="filters">
        <label>
          Find
          <input type="search" value={text} placeholder="name or task" onInput={(event) => setText(event.currentTarget.value)} />
        </label>
      </div>
      <Wide>
        <table>
          <thead>
            <tr>
              <th>Adapter</th>
              <th>Task</th>
              <th class="number">Score</th>
              <th>Structure</th>
              <th class="number">Parameters</th>
              <th class="number">Generations</th>
              <th>Aliases</th>
              <th>Updated</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {shown.map((adapter) => {
              const now = latest(adapter);
              return (
                <tr key={adapter.name}>
                  <td>
                    <a href={`/adapters/${adapter.name}`}>{adapter.name}</a>
                  </td>
                  <td>{now?.task ? <a href={`/tasks/${now.task.name}`}>{now.task.name}</a> : "–"}</td>
                  <td class="number">{now?.score ? `${now.score.metric} ${score(now.score.value)}` : "–"}</td>
                  <td>{now && <StructureLink id={now.structure} />}</td>
                  <td class="number">{now && count(now.parameters)}</td>
                  <td class="number">{adapter.generations.length}</td>
                  <td>{Object.keys(adapter.aliases).join(", ")}</td>
                  <td class="quiet">{date(now?.created)}</td>
                  <td>
                    <a href={`/try?adapter=${adapter.name}`}>Try</a>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </Wide>
    </>
  );
}

export function AdapterPage({ name }: { name: string }) {
  useTitle(name);
  const { data: adapter, error, reload } = useLoad<Adapter>(`/v1/adapters/${encodeURIComponent(name)}`);
  const tasks = usePages<Task>("/v1/tasks");
  if (error && !adapter) return <Problem error={error} retry={reload} />;
  if (!adapter) return <Loading />;
  const aliases = (digest: string) => Object.entries(adapter.aliases).flatMap(([alias, to]) => (to === digest ? [alias] : []));
  return (
    <>
      <div class="title">
        <h1>{adapter.name}</h1>
      </div>
      <Facts
        of={[
          ["Generations", plural(adapter.generations.length, "generation")],
          ["First stored", date(adapter.created)],
        ]}
      />
      <section class="card">
        <h2>Try it</h2>
        {tasks.data && <PredictBox adapters={[adapter]} tasks={tasks.data} />}
        {tasks.error && <Problem error={tasks.error} />}
        <p class="quiet">
          <a href={`/try?adapter=${adapter.name}`}>Ask several adapters at once, or complete free text</a>
        </p>
      </section>
      <section>
        <h2>Generations</h2>
        <Wide>
          <table>
            <thead>
              <tr>
                <th>Generation</th>
                <th>Aliases</th>
                <th>Structure</th>
                <th>Task</th>
                <th class="number">Score</th>
                <th class="number">Parameters</th>
                <th>Created</th>
                <th>Job</th>
                <th>Weights</th>
              </tr>
            </thead>
            <tbody>
              {adapter.generations.toReversed().map((one) => (
                <tr key={one.digest}>
                  <td>
                    <code title={one.digest}>{short(one.digest)}</code>
                  </td>
                  <td>
                    {aliases(one.digest).map((alias) => (
                      <span key={alias} class="tag">
                        {alias}
                      </span>
                    ))}
                  </td>
                  <td>
                    <StructureLink id={one.structure} />
                  </td>
                  <td>{one.task ? <a href={`/tasks/${one.task.name}`}>{one.task.name}</a> : "–"}</td>
                  <td class="number">{one.score ? `${one.score.metric} ${score(one.score.value)} (${one.score.split})` : "–"}</td>
                  <td class="number">{count(one.parameters)}</td>
                  <td class="quiet">{date(one.created)}</td>
                  <td>{one.job ? <JobLink id={one.job} /> : "–"}</td>
                  <td>
                    <a href={`/v1/adapters/${adapter.name}/generations/${one.digest}/weights`} download={`${adapter.name}-${short(one.digest)}.safetensors`}>
                      safetensors
                    </a>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      </section>
      <section>
        <h2>Over HTTP</h2>
        <Command text={`curl ${window.location.origin}/v1/completions -H 'content-type: application/json' -d '{"model": "${adapter.name}", "prompt": "…"}'`} />
      </section>
    </>
  );
}

/** One text, several adapters. Those chosen are in the address: `/try?adapter=a&adapter=b`. */
export function TryPage() {
  useTitle("Try");
  const { search } = useLocation();
  const [, setOne] = useSetting("adapter");
  const adapters = usePages<Adapter>("/v1/adapters");
  const tasks = usePages<Task>("/v1/tasks");
  if (adapters.error && !adapters.data) return <Problem error={adapters.error} retry={adapters.reload} />;
  if (!adapters.data || !tasks.data) return tasks.error ? <Problem error={tasks.error} /> : <Loading />;
  const wanted = search.getAll("adapter").flatMap((one) => one.split(","));
  const chosen = adapters.data.filter((one) => wanted.includes(one.name));
  const toggle = (name: string) => {
    const next = wanted.includes(name) ? wanted.filter((one) => one !== name) : [...wanted, name];
    setOne(next.join(","));
  };
  return (
    <>
      <div class="title">
        <h1>Try</h1>
      </div>
      {adapters.data.length === 0 && <NoAdapter />}
      {adapters.data.length > 0 && (
        <section class="card">
          <h2>Label a text</h2>
          <fieldset>
            <legend>Adapters</legend>
            {adapters.data.map((adapter) => (
              <label key={adapter.name} class="check">
                <input type="checkbox" checked={wanted.includes(adapter.name)} onChange={() => toggle(adapter.name)} />
                {adapter.name} <span class="quiet">{latest(adapter)?.task?.name}</span>
              </label>
            ))}
          </fieldset>
          <PredictBox adapters={chosen} tasks={tasks.data} />
        </section>
      )}
      <section class="card">
        <h2>Complete a text</h2>
        <CompleteBox adapters={adapters.data} chosen={chosen[0]?.name ?? ""} />
      </section>
    </>
  );
}
