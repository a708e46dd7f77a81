import type { Transfer } from "../api/types";
import { count, decimal, plural, score } from "../format";
import { DARK, LIGHT, sequential } from "../heatmap/colours";
import { useDark, usePages } from "../hooks";
import { Empty, JobLink, StructureLink, Wide } from "../parts/common";
import { ListPage } from "../parts/listpage";

const sourceOf = (one: Transfer): string => one.source_task ?? "hand-made";
const unique = (values: string[]): string[] => [...new Set(values)].sort((a, b) => a.localeCompare(b));

export function TransfersPage() {
  const empty = (
    <Empty title="No transfer yet" command="s3delta transfer --from builtin-sentiment --to builtin-topic">
      <p>A transfer trains the structure that was searched on one task on another, and keeps the score. Run one:</p>
    </Empty>
  );
  return (
    <ListPage title="Transfers" of={usePages<Transfer>("/v1/transfers")} empty={empty}>
      {(data) => <Transfers of={data} />}
    </ListPage>
  );
}

function Transfers({ of: data }: { of: Transfer[] }) {
  const theme = useDark() ? DARK : LIGHT;
  const sources = unique(data.map(sourceOf));
  const targets = unique(data.map((one) => one.target_task));
  const best = (source: string, target: string) =>
    data
      .filter((one) => sourceOf(one) === source && one.target_task === target)
      .sort((a, b) => b.score_mean - a.score_mean)[0];
  return (
    <>
      <p class="quiet">
        Rows are the tasks that structures were searched on, columns the tasks that they were trained on. Mean score over seeds and its
        standard deviation; the best of several. The strip shows the score from 0 to 1.
      </p>
      <Wide>
        <table class="matrix">
          <thead>
            <tr>
              <th scope="col">Source ↓ Target →</th>
              {targets.map((target) => (
                <th key={target} scope="col">
                  <a href={`/tasks/${target}`}>{target}</a>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {sources.map((source) => (
              <tr key={source}>
                <th scope="row">{source === "hand-made" ? source : <a href={`/tasks/${source}`}>{source}</a>}</th>
                {targets.map((target) => {
                  const one = best(source, target);
                  if (!one) {
                    return (
                      <td key={target} class="quiet absent">
                        –
                      </td>
                    );
                  }
                  return (
                    <td key={target} style={{ boxShadow: `inset 0 -4px 0 ${sequential(theme, one.score_mean)}` }}>
                      <strong>{score(one.score_mean)}</strong>
                      {one.seeds.length > 1 && <span class="quiet"> ± {score(one.score_std)}</span>}
                      <br />
                      <span class="quiet">
                        {one.metric}, {plural(one.seeds.length, "seed")}
                      </span>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
      <section>
        <h2>All transfers</h2>
        <Wide>
          <table>
            <thead>
              <tr>
                <th>Source</th>
                <th>Structure</th>
                <th>Target</th>
                <th class="number">Score</th>
                <th class="number">Deviation</th>
                <th>Seeds</th>
                <th class="number">Parameters</th>
                <th>Adapter</th>
                <th>Job</th>
              </tr>
            </thead>
            <tbody>
              {data.map((one, index) => (
                <tr key={index}>
                  <td>{sourceOf(one)}</td>
                  <td>
                    <StructureLink id={one.source_structure} />
                  </td>
                  <td>{one.target_task}</td>
                  <td class="number">
                    {one.metric} {score(one.score_mean)}
                  </td>
                  <td class="number">{one.seeds.length > 1 ? decimal(one.score_std, 4) : "–"}</td>
                  <td>{one.seeds.join(", ")}</td>
                  <td class="number">{count(one.parameters)}</td>
                  <td>{one.adapter ? <a href={`/adapters/${one.adapter}`}>{one.adapter}</a> : "–"}</td>
                  <td>{one.job ? <JobLink id={one.job} /> : "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      </section>
    </>
  );
}
