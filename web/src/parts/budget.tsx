import { useEffect, useState } from "preact/hooks";
import { count, percent } from "../format";
import { type Selection, total } from "../selection";
import { Choice } from "./common";

const STEPS = 1000;

/** A budget on a logarithmic slider from the smallest module to the whole space; every move chooses anew at once. */
export function BudgetControl(props: {
  sizes: readonly number[];
  stored: number;
  budget: number;
  selection: Selection;
  changed: boolean;
  onBudget: (budget: number | null) => void;
  onSelection: (selection: Selection) => void;
  onReset: () => void;
}) {
  const space = total(props.sizes);
  const smallest = Math.min(...props.sizes);
  const toStep = (budget: number) => (Math.log(Math.max(budget, smallest) / smallest) / Math.log(space / smallest)) * STEPS;
  const toBudget = (step: number) => Math.min(space, Math.max(smallest, Math.round(smallest * (space / smallest) ** (step / STEPS))));
  const [typed, setTyped] = useState(String(props.budget));
  useEffect(() => setTyped(String(props.budget)), [props.budget]);
  const commit = () => {
    const value = Number(typed.replace(/[\s,_]/g, ""));
    if (Number.isFinite(value) && value >= 1) props.onBudget(Math.min(space, Math.round(value)));
    else setTyped(String(props.budget));
  };
  return (
    <div class="budget">
      <label class="slider">
        <span>
          Budget <span class="quiet">{percent(props.budget / space)} of the space</span>
        </span>
        <input
          type="range"
          min="0"
          max={STEPS}
          step="1"
          value={Math.round(toStep(props.budget))}
          aria-valuetext={`${count(props.budget)} parameters`}
          onInput={(event) => props.onBudget(toBudget(Number(event.currentTarget.value)))}
        />
      </label>
      <label>
        Parameters
        <input
          class="count"
          inputmode="numeric"
          value={typed}
          onInput={(event) => setTyped(event.currentTarget.value)}
          onChange={commit}
        />
      </label>
      <Choice label="Selection" value={props.selection} of={[["exact", "Exact"], ["greedy", "Greedy"]]} onChange={props.onSelection} />
      <button class="small" disabled={!props.changed} onClick={props.onReset}>
        As stored ({count(props.stored)})
      </button>
    </div>
  );
}
