import { useEffect, useMemo, useState } from "preact/hooks";
import { type ApiError, post } from "../api/client";
import { follow } from "../api/events";
import type { Backbone, Job, Progress } from "../api/types";
import { count, date, decimal, score, seconds } from "../format";
import { Heatmap } from "../heatmap/Heatmap";
import { buildGrid } from "../heatmap/layout";
import { type Widths, parametersOf } from "../heatmap/sizes";
import { useLoad, useTitle } from "../hooks";
import { Chart } from "../parts/chart";
import { Facts, Loading, Problem, State, StructureLink } from "../parts/common";
import { greedy } from "../selection";
import { Bar, isOver, subject, took } from "./jobs";

/** What was seen of each job since the page was loaded, so that going back to it shows the curves again. */
const seen = new Map<string, Progress[]>();

export function JobPage({ id }: { id: string }) {
  useTitle(`Job ${id}`);
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  const { data, error, reload } = useLoad<Job>(path);
  const [live, setLive] = useState<Job | null>(null);
  const [lost, setLost] = useState<ApiError | null>(null);
  const [refused, setRefused] = useState<ApiError | null>(null);
  const [, setTurn] = useState(0);
  const job = live?.id === id ? live : data;
  const started = job !== null;
  const over = job !== null && isOver(job);

  useEffect(() => {
    if (!started || over) return;
    const stop = new AbortController();
    const onEvent = ({ event, data }: { event: string; data: string }): "more" | "over" => {
      if (event === "progress") {
        remember(id, JSON.parse(data) as Progress);
        setTurn((old) => old + 1);
      } else if (event === "state") {
        const next = JSON.parse(data) as Job;
        setLive(next);
        return isOver(next) ? "over" : "more";
      }
      return "more";
    };
    void follow(`${path}/events`, stop.signal, onEvent, setLost);
    return () => stop.abort();
  }, [id, started, over]);

  if (error && !data) return <Problem error={error} retry={reload} />;
  if (!job) return <Loading />;
  const act = (verb: string) => () => {
    setRefused(null);
    post<Job>(`${path}/${verb}`).then(setLive, setRefused);
  };
  if (job.progress) remember(id, job.progress);
  const history = seen.get(id) ?? [];
  const now = history.at(-1) ?? job.progress ?? null;
  return (
    <>
      <div class="title">
        <h1>
          {job.kind[0]!.toUpperCase() + job.kind.slice(1)} <span class="subject">{subject(job)}</span>
        </h1>
        <State state={job.state} />
        {!isOver(job) && <button onClick={act("cancel")}>Cancel</button>}
        {(job.state === "cancelled" || job.state === "failed") && <button onClick={act("resume")}>Resume</button>}
      </div>
      {refused && <Problem error={refused} />}
      {lost && !isOver(job) && (
        <p class="quiet" role="status">
          {lost.message} Trying again…
        </p>
      )}
      {job.error && (
        <div class="problem" role="alert">
          <p>{job.error.message}</p>
          <p class="quiet">
            <code>{job.error.code}</code>
          </p>
        </div>
      )}
      <Facts
        of={[
          ["Job", <code>{job.id}</code>],
          ["Created", date(job.created)],
          ["Started", job.started && date(job.started)],
          ["Took", job.started && took(job)],
        ]}
      />
      {job.result && <Result result={job.result as Record<string, unknown>} />}
      {now && <Live job={{ ...job, progress: now }} history={history} />}
      {!now && job.state === "queued" && <p class="quiet">It waits for the jobs before it.</p>}
      <section>
        <h2>Request</h2>
        <pre>{JSON.stringify(job.request, null, 2)}</pre>
      </section>
    </>
  );
}

/** Keeps one entry a step; the modules come once and hold for all later ones. */
function remember(id: string, progress: Progress): void {
  const all = seen.get(id) ?? [];
  const last = all.at(-1);
  const full = { ...progress, modules: progress.modules ?? last?.modules ?? null };
  full.probabilities ??= last?.probabilities ?? null;
  if (last && last.phase === full.phase && last.seed === full.seed && last.step === full.step) all[all.length - 1] = full;
  else if (!last || (full.seconds ?? 0) >= (last.seconds ?? 0)) all.push(full);
  seen.set(id, all.length > 4000 ? all.filter((_, index) => index % 2 === 1) : all);
}

function Live({ job, history }: { job: Job; history: Progress[] }) {
  const now = job.progress!;
  const run = history.filter((one) => one.phase === now.phase && one.seed === now.seed);
  const steps = run.map((one) => one.step ?? 0);
  const line = (read: (one: Progress) => number | null | undefined) => run.map((one) => read(one) ?? null);
  const searching = now.loss_alpha != null;
  return (
    <>
      <section class="card" aria-label="Progress">
        {!isOver(job) && <Bar job={job} />}
        <div class="tiles">
          <Tile name="Phase" value={now.phase} note={now.seed == null ? "" : `seed ${now.seed}`} />
          <Tile name="Step" value={count(now.step ?? 0)} note={now.total_steps ? `of ${count(now.total_steps)}` : ""} />
          <Tile name={`Dev ${now.metric ?? "score"}`} value={score(now.dev_score)} />
          {now.expected_parameters != null && (
            <Tile name="Expected parameters E[N]" value={count(Math.round(now.expected_parameters))} note={now.budget ? `of ${count(now.budget)}` : ""} />
          )}
          {now.zeta != null && <Tile name="Shift ζ" value={decimal(now.zeta, 3)} />}
          {isOver(job) ? (
            <Tile name="Time" value={seconds(now.seconds)} />
          ) : (
            <Tile name="Time left" value={seconds(now.eta_seconds)} note={`${seconds(now.seconds)} so far`} />
          )}
        </div>
        <div class="charts">
          <Chart
            title="Loss"
            steps={steps}
            series={[
              { name: searching ? "δ half" : "train", tone: "one", values: line((one) => one.loss_delta) },
              ...(searching ? [{ name: "α half", tone: "two" as const, values: line((one) => one.loss_alpha) }] : []),
            ]}
          />
          <Chart title="Dev" steps={steps} series={[{ name: now.metric ?? "score", tone: "one", values: line((one) => one.dev_score) }]} />
          {searching && <Chart title="Shift" steps={steps} series={[{ name: "ζ", tone: "one", values: line((one) => one.zeta) }]} />}
        </div>
      </section>
      {now.modules && now.probabilities && (
        <LiveHeatmap
          modules={now.modules}
          p={now.probabilities}
          budget={now.budget ?? null}
          expected={now.expected_parameters ?? null}
          running={!isOver(job) && now.phase === "search"}
        />
      )}
    </>
  );
}

interface LiveProps {
  modules: NonNullable<Progress["modules"]>;
  p: number[];
  budget: number | null;
  expected: number | null;
  running: boolean;
}

/** The p of a running search. Outlines appear if the modules' sizes are known: if they explain the reported E[N]. */
function LiveHeatmap({ modules, p, budget, expected, running }: LiveProps) {
  const { data: backbone } = useLoad<Backbone>("/v1/backbone");
  const id = modules.map((one) => one.position + one.kind).join();
  const grid = useMemo(() => buildGrid(modules, backbone?.shape), [id, backbone]);
  const sizes = useMemo(() => backbone && defaultSizes(modules, backbone.shape), [id, backbone]);
  const sized = sizes && expected !== null && Math.abs(sumProduct(p, sizes) - expected) < 0.01 * expected;
  const chosen = useMemo(() => (sized && budget ? greedy(p, sizes, budget) : null), [p, sized, sizes, budget]);
  return (
    <section class="card" aria-label="Probabilities">
      <h2>Probabilities {running ? "now" : "at the last report"}</h2>
      {chosen && running && <p class="quiet">Outlined: what a greedy choice would keep now.</p>}
      <Heatmap grid={grid} modules={modules} p={p} chosen={chosen} sizes={sized ? sizes : null} measure="p" label="Probability of each delta module now" />
    </section>
  );
}

/** Sizes at the kinds' default hyper-parameters: a job's progress names positions and kinds only. */
function defaultSizes(modules: LiveProps["modules"], shape: Widths): number[] {
  const bottleneck = (kind: string) => (kind === "low_rank_adapter" ? Math.max(1, Math.floor(shape.d_model / 32)) : Math.min(24, shape.d_model));
  return modules.map((module) => parametersOf({ ...module, rank: 1, bottleneck: bottleneck(module.kind) }, shape));
}

const sumProduct = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, index) => sum + value * b[index]!, 0);

const Tile = ({ name, value, note = "" }: { name: string; value: string; note?: string }) => (
  <div class="tile">
    <span class="quiet">{name}</span>
    <strong>{value}</strong>
    <span class="quiet">{note}</span>
  </div>
);

/** What came of a job, with links to what it made. */
function Result({ result }: { result: Record<string, unknown> }) {
  const text = (name: string): string | null => (typeof result[name] === "string" ? (result[name] as string) : null);
  const number = (name: string): number | null => (typeof result[name] === "number" ? (result[name] as number) : null);
  const scored = result.score as { metric: string; value: number; split: string } | null | undefined;
  const structure = text("structure");
  const adapter = text("adapter");
  const each = Array.isArray(result.structures) ? (result.structures as string[]) : [];
  const parameters = number("parameters");
  return (
    <section class="card" aria-label="Result">
      <h2>Result</h2>
      <Facts
        of={[
          ["Structure", structure && <StructureLink id={structure} />],
          ["Parameters", parameters !== null && count(parameters)],
          ["By seed", each.length > 1 && each.map((id) => <StructureLink key={id} id={id} />)],
          ["Adapter", adapter && <a href={`/adapters/${adapter}`}>{adapter}</a>],
          ["Score", scored && `${scored.metric} ${score(scored.value)} on ${scored.split}`],
          ["Mean score", number("score_mean") !== null && `${text("metric") ?? "score"} ${score(number("score_mean"))} ± ${score(number("score_std"))}`],
          ["Search", number("search_seconds") !== null && seconds(number("search_seconds"))],
          ["Re-training", number("retrain_seconds") !== null && seconds(number("retrain_seconds"))],
          ["Time", number("seconds") !== null && seconds(number("seconds"))],
          ["Rows", number("rows") !== null && count(number("rows")!)],
        ]}
      />
      {adapter && (
        <a class="button" href={`/try?adapter=${encodeURIComponent(adapter)}`}>
          Try the adapter
        </a>
      )}
    </section>
  );
}
