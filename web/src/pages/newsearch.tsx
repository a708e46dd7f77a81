import { useState } from "preact/hooks";
import { type ApiError, post } from "../api/client";
import type { Job, Task } from "../api/types";
import { usePages, useTitle } from "../hooks";
import { Command, Loading, Problem } from "../parts/common";
import { navigate, useSetting } from "../router";

/** A search from the page: the usual settings; the rest keep the server's defaults. */
export function NewSearchPage() {
  useTitle("New search");
  const [linked] = useSetting("task");
  const tasks = usePages<Task>("/v1/tasks");
  const [values, setValues] = useState({ task: linked, space: "mix", budget: "5.447%", preset: "", order: "", selection: "", seeds: "0", epochs: "", train_rows: "", adapter: "" });
  const [error, setError] = useState<ApiError | null>(null);
  const [busy, setBusy] = useState(false);
  if (tasks.error && !tasks.data) return <Problem error={tasks.error} retry={tasks.reload} />;
  if (!tasks.data) return <Loading />;
  const task = values.task || tasks.data[0]?.name || "";
  const set = (name: string) => (event: { currentTarget: { value: string } }) => setValues({ ...values, [name]: event.currentTarget.value });
  const seeds = values.seeds.split(/[\s,]+/).filter(Boolean).map(Number);
  const request = {
    task,
    space: values.space,
    budget: values.budget.trim(),
    seeds,
    ...(values.preset && { preset: values.preset }),
    ...(values.order && { order: values.order }),
    ...(values.selection && { selection: values.selection }),
    ...(values.epochs && { epochs: Number(values.epochs) }),
    ...(values.train_rows && { train_rows: Number(values.train_rows) }),
    ...(values.adapter && { adapter: values.adapter.trim() }),
  };
  const start = (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    post<Job>("/v1/searches", request).then(
      (job) => navigate(`/jobs/${job.id}`),
      (refused: ApiError) => {
        setError(refused);
        setBusy(false);
      },
    );
  };
  return (
    <>
      <h1>New search</h1>
      <form class="card fields" onSubmit={start}>
        <label>
          Task
          <select value={task} onChange={set("task")}>
            {tasks.data.map((one) => (
              <option key={one.name} value={one.name}>
                {one.name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Space
          <select value={values.space} onChange={set("space")}>
            <option value="mix">mix</option>
            <option value="lora">lora</option>
            <option value="full">full</option>
          </select>
        </label>
        <label>
          Budget
          <input required value={values.budget} onInput={set("budget")} aria-describedby="budget-forms" />
          <span id="budget-forms" class="quiet">
            5.447% of the space, 102458 parameters, or 1.389e-4 of the backbone
          </span>
        </label>
        <label>
          Preset
          <select value={values.preset} onChange={set("preset")}>
            <option value="">none</option>
            <option value="s3delta-paper">s3delta-paper (second order)</option>
            <option value="s3delta-reference">s3delta-reference (its authors' code)</option>
          </select>
        </label>
        <label>
          Order
          <select value={values.order} onChange={set("order")}>
            <option value="">{values.preset ? "the preset's" : "default (first)"}</option>
            <option value="first">first (two passes a step)</option>
            <option value="second">second (four passes a step)</option>
            <option value="reference">reference (five passes a step)</option>
          </select>
        </label>
        <label>
          Selection
          <select value={values.selection} onChange={set("selection")}>
            <option value="">{values.preset ? "the preset's" : "default (exact)"}</option>
            <option value="exact">exact</option>
            <option value="greedy">greedy</option>
          </select>
        </label>
        <label>
          Seeds
          <input required pattern="\s*\d+([\s,]+\d+)*\s*" value={values.seeds} onInput={set("seeds")} />
          <span class="quiet">one search each; p is averaged</span>
        </label>
        <label>
          Epochs
          <input type="number" min="1" placeholder="5" value={values.epochs} onInput={set("epochs")} />
          <span class="quiet">passes over the training rows</span>
        </label>
        <label>
          Training rows
          <input type="number" min="2" placeholder="all" value={values.train_rows} onInput={set("train_rows")} />
        </label>
        <label>
          Adapter
          <input placeholder={task} value={values.adapter} onInput={set("adapter")} />
          <span class="quiet">gets the re-trained structure</span>
        </label>
        <div class="wholeline">
          <button class="primary" type="submit" disabled={busy || !task}>
            {busy ? "Starting…" : "Start the search"}
          </button>
        </div>
        {error && <Problem error={error} />}
      </form>
      <p class="quiet">The same from a shell:</p>
      <Command
        text={[
          `s3delta search --task ${task} --space ${values.space} --budget ${request.budget}`,
          values.preset && `--preset ${values.preset}`,
          values.order && `--order ${values.order}`,
          values.selection && `--selection ${values.selection}`,
          seeds.length > 1 ? `--seeds ${seeds.length}` : `--seed ${seeds[0] ?? 0}`,
          values.epochs && `--epochs ${values.epochs}`,
          values.train_rows && `--train-rows ${values.train_rows}`,
        ]
          .filter(Boolean)
          .join(" ")}
      />
    </>
  );
}
