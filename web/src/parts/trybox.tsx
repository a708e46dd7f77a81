import { useState } from "preact/hooks";
import { ApiError, post, send } from "../api/client";
import { readEvents } from "../api/events";
import type { Adapter, Backbone, Completion, PredictionResponse, Task } from "../api/types";
import { decimal, short } from "../format";
import { useLoad } from "../hooks";
import { Problem } from "./common";
import { definitionOf, fieldsOf, groupByFields, latest } from "./tasks";

type Answer = PredictionResponse["data"][number];

/** Which fields the adapter's task has; an adapter without a known task cannot be asked for labels. */
function readFields(adapter: Adapter, tasks: Task[]): string[] | null {
  const name = latest(adapter)?.task?.name;
  const task = tasks.find((one) => one.name === name);
  const template = task && definitionOf(task).template;
  return template ? fieldsOf(template) : null;
}

/** Asks one or several adapters for the label of one text. */
export function PredictBox({ adapters, tasks }: { adapters: Adapter[]; tasks: Task[] }) {
  const known = adapters.flatMap((adapter) => {
    const fields = readFields(adapter, tasks);
    return fields ? [{ name: adapter.name, fields }] : [];
  });
  const without = adapters.filter((adapter) => !known.some((one) => one.name === adapter.name));
  const fields = [...new Set(known.flatMap((one) => one.fields))];
  const [values, setValues] = useState<Record<string, string>>({});
  const [busy, setBusy] = useState(false);
  const [answers, setAnswers] = useState<Answer[]>([]);
  const [errors, setErrors] = useState<ApiError[]>([]);
  const ask = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    const asked = groupByFields(known).map((group) => {
      const input = Object.fromEntries(group.fields.map((field) => [field, values[field] ?? ""]));
      return post<PredictionResponse>("/v1/predictions", { adapters: group.adapters, inputs: [input] });
    });
    const replies = await Promise.allSettled(asked);
    setAnswers(replies.flatMap((reply) => (reply.status === "fulfilled" ? reply.value.data : [])));
    setErrors(replies.flatMap((reply) => (reply.status === "rejected" ? [reply.reason as ApiError] : [])));
    setBusy(false);
  };
  if (adapters.length === 0) return <p class="quiet">Choose an adapter.</p>;
  return (
    <form class="try" onSubmit={(event) => void ask(event)}>
      {without.map((adapter) => (
        <p key={adapter.name} class="quiet">
          The task of {adapter.name} is not known here, so it cannot be asked for a label; complete a text with it instead.
        </p>
      ))}
      {fields.map((field) => (
        <label key={field}>
          {field}
          <textarea rows={2} name={field} required value={values[field] ?? ""} onInput={(event) => setValues({ ...values, [field]: event.currentTarget.value })} />
        </label>
      ))}
      {known.length > 0 && (
        <button class="primary" type="submit" disabled={busy}>
          {busy ? "Asking…" : "Predict"}
        </button>
      )}
      {errors.map((error, index) => (
        <Problem key={index} error={error} />
      ))}
      <div class="answers" aria-live="polite">
        {answers.map((answer) => (
          <Scores key={answer.adapter} answer={answer} />
        ))}
      </div>
    </form>
  );
}

function Scores({ answer }: { answer: Answer }) {
  const prediction = answer.predictions[0];
  if (!prediction) return null;
  const scores = Object.entries(prediction.scores).sort((a, b) => b[1] - a[1]);
  return (
    <div class="answer">
      <p>
        <a href={`/adapters/${answer.adapter.split("@")[0]}`}>{answer.adapter}</a> says <strong class="label">{prediction.label}</strong>
        {answer.adapter_generation && (
          <span class="quiet" title={answer.adapter_generation}>
            {" "}
            generation {short(answer.adapter_generation)}
          </span>
        )}
      </p>
      <table class="scores">
        <tbody>
          {scores.slice(0, 8).map(([label, value]) => (
            <tr key={label}>
              <th scope="row">{label}</th>
              <td class="track">
                <meter min={0} max={1} value={value} aria-label={`score of ${label}`} />
              </td>
              <td class="number">{decimal(value, 3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {scores.length > 8 && <p class="quiet">and {scores.length - 8} more labels</p>}
    </div>
  );
}

/** Free text through an adapter, or through the bare backbone. */
export function CompleteBox({ adapters, chosen }: { adapters: Adapter[]; chosen: string }) {
  const { data: backbone } = useLoad<Backbone>("/v1/backbone");
  const [picked, setPicked] = useState<string | null>(null);
  const [prompt, setPrompt] = useState("");
  const [most, setMost] = useState("32");
  const [text, setText] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const model = picked ?? (chosen || backbone?.name || "");
  const complete = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    setText("");
    try {
      const body = JSON.stringify({ model, prompt, max_tokens: Number(most) || 32, stream: true });
      const reply = await send("/v1/completions", { method: "POST", body, headers: { "content-type": "application/json" } });
      await readEvents(reply, ({ data }) => {
        if (data === "[DONE]") return;
        const piece = JSON.parse(data) as Completion & { error?: { message: string; code?: string } };
        if (piece.error) throw new ApiError(piece.error.message, 0, piece.error.code ?? "unknown");
        setText((old) => (old ?? "") + (piece.choices[0]?.text ?? ""));
      });
    } catch (cause) {
      setError(cause instanceof ApiError ? cause : new ApiError("The connection was lost.", 0, "unreachable"));
    }
    setBusy(false);
  };
  return (
    <form class="try" onSubmit={(event) => void complete(event)}>
      <div class="line">
        <label>
          Model
          <select value={model} onChange={(event) => setPicked(event.currentTarget.value)}>
            {backbone && <option value={backbone.name}>{backbone.name} (bare)</option>}
            {adapters.map((adapter) => (
              <option key={adapter.name} value={adapter.name}>
                {adapter.name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Tokens at most
          <input class="count" type="number" min="1" max="512" value={most} onInput={(event) => setMost(event.currentTarget.value)} />
        </label>
      </div>
      <label>
        Text
        <textarea rows={3} required value={prompt} onInput={(event) => setPrompt(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary" disabled={busy || !model}>
        {busy ? "Writing…" : "Complete"}
      </button>
      {error && <Problem error={error} />}
      {text !== null && !error && (
        <output class="completion" aria-live="polite">
          {text || <span class="quiet">{busy ? "…" : "The model ended at once: no text."}</span>}
        </output>
      )}
    </form>
  );
}
