import type { Job } from "../api/types";
import { date, seconds } from "../format";
import { usePages } from "../hooks";
import { Empty, JobLink, State, Wide } from "../parts/common";
import { ListPage, StartSearch } from "../parts/listpage";
import { useSetting } from "../router";
import { Select } from "./structures";

const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];
const KINDS = ["search", "retrain", "transfer", "evaluation"];

export const isOver = (job: Job): boolean => ["succeeded", "failed", "cancelled"].includes(job.state);

/** What a job is about, in a few words. */
export function subject(job: Job): string {
  const request = job.request as Record<string, unknown>;
  const text = (name: string): string => (typeof request[name] === "string" ? (request[name] as string) : "");
  switch (job.kind) {
    case "transfer":
      return `${text("source")} → ${text("target")}`;
    case "search":
      return [text("task"), text("space"), text("budget")].filter(Boolean).join(" · ");
    case "retrain":
      return [text("task"), text("structure").slice(0, 16)].filter(Boolean).join(" · ");
    default:
      return [text("task"), text("adapter") || "bare backbone"].filter(Boolean).join(" · ");
  }
}

export function JobsPage() {
  const [state, setState] = useSetting("state");
  const [kind, setKind] = useSetting("kind");
  const empty = !state && !kind && (
    <Empty title="No job yet" command="s3delta search --task builtin-sentiment --budget 5.447%">
      <p>Searches, re-trainings, transfers and evaluations appear here while they run and stay afterwards. Start one:</p>
    </Empty>
  );
  return (
    <ListPage title="Jobs" of={usePages<Job>("/v1/jobs", { state, kind }, 3000)} action={<StartSearch />} empty={empty}>
      {(data) => (
        <>
          <div class="filters">
            <Select label="State" value={state} of={STATES} onChange={setState} />
            <Select label="Kind" value={kind} of={KINDS} onChange={setKind} />
          </div>
          {data.length === 0 ? <p class="quiet">No job matches the filter.</p> : <Jobs of={data} />}
        </>
      )}
    </ListPage>
  );
}

const Jobs = ({ of: jobs }: { of: Job[] }) => (
  <Wide>
    <table>
      <thead>
        <tr>
          <th>Job</th>
          <th>Kind</th>
          <th>About</th>
          <th>State</th>
          <th>Progress</th>
          <th>Created</th>
          <th class="number">Took</th>
        </tr>
      </thead>
      <tbody>
        {jobs.map((job) => (
          <tr key={job.id}>
            <td>
              <JobLink id={job.id} />
            </td>
            <td>{job.kind}</td>
            <td>{subject(job)}</td>
            <td>
              <State state={job.state} />
            </td>
            <td>
              {job.state === "running" && job.progress ? <Bar job={job} /> : <Outcome job={job} />}
            </td>
            <td class="quiet">{date(job.created)}</td>
            <td class="number">{took(job)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  </Wide>
);

const Outcome = ({ job }: { job: Job }) => (
  <div class="quiet clip" title={job.error?.message}>
    {job.error ? job.error.message : "–"}
  </div>
);

export function took(job: Job): string {
  if (!job.started) return "–";
  const end = job.finished ? Date.parse(job.finished) : Date.now();
  return seconds(Math.max(0, end - Date.parse(job.started)) / 1000);
}

export function Bar({ job }: { job: Job }) {
  const { phase, step, total_steps: steps } = job.progress!;
  return (
    <span class="bar">
      <progress max={steps ?? 1} {...(steps ? { value: step ?? 0 } : {})} aria-label={`${phase} step`} />
      <span class="quiet">
        {phase}
        {steps ? ` ${step ?? 0} / ${steps}` : ""}
      </span>
    </span>
  );
}
