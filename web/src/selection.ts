// From probabilities to a structure under a budget; the same choice, tie for tie, as src/structure/selection.rs.

export type Selection = "exact" | "greedy";

/** Largest table of the exact choice that a browser fills without a noticeable pause. */
const MOST_CELLS = 200_000_000;

/** Which modules to keep, at most `budget` parameters in all; ties go to the earlier module. */
export function choose(selection: Selection, p: readonly number[], sizes: readonly number[], budget: number): boolean[] {
  return selection === "greedy" ? greedy(p, sizes, budget) : exact(p, sizes, budget);
}

/** p of a logit; 0 at −∞, which is a module that a search pruned. */
export function sigmoid(logit: number): number {
  return logit === -Infinity ? 0 : 1 / (1 + Math.exp(-Math.max(logit, -200)));
}

export function logit(p: number): number {
  return Math.log(p / (1 - p));
}

/** Mean p of searches under another budget: each one's logits shifted alike until Σ p·size is the budget, which is ζ solved anew. */
export function atBudget(searches: readonly (readonly number[])[], sizes: readonly number[], budget: number): number[] {
  const found = searches.map((logits) => {
    const at = (shift: number) => logits.map((one) => sigmoid(one + shift));
    const finite = logits.filter(Number.isFinite);
    let [low, high] = [-300 - Math.max(0, ...finite), 300 - Math.min(0, ...finite)];
    for (let step = 0; step < 100; step++) {
      const middle = (low + high) / 2;
      const size = at(middle).reduce((sum, one, index) => sum + one * sizes[index]!, 0);
      if (size > budget) high = middle;
      else low = middle;
    }
    return at(low);
  });
  return sizes.map((_, index) => found.reduce((sum, p) => sum + p[index]!, 0) / found.length);
}

/** Whether the exact choice at this budget is small enough to make in the browser. */
export function exactIsFeasible(sizes: readonly number[], budget: number): boolean {
  return total(sizes) <= budget || sizes.length * (Math.floor(budget / unit(sizes)) + 1) <= MOST_CELLS;
}

/** By falling p, skipping what does not fit. */
export function greedy(p: readonly number[], sizes: readonly number[], budget: number): boolean[] {
  const order = p.map((_, index) => index).sort((a, b) => p[b]! - p[a]! || a - b);
  const chosen = p.map(() => false);
  let left = budget;
  for (const index of order) {
    if (sizes[index]! <= left) {
      chosen[index] = true;
      left -= sizes[index]!;
    }
  }
  return chosen;
}

/** The set with the greatest Σp: a 0/1 knapsack over size / gcd. */
export function exact(p: readonly number[], sizes: readonly number[], budget: number): boolean[] {
  if (total(sizes) <= budget) return p.map(() => true);
  const step = unit(sizes);
  const capacity = Math.floor(budget / step);
  const width = capacity + 1;
  const best = new Float64Array(width);
  const taken = new Uint8Array(Math.ceil((p.length * width) / 8));
  for (let index = 0; index < p.length; index++) {
    const weight = sizes[index]! / step;
    const value = p[index]!;
    for (let room = capacity; room >= weight; room--) {
      const withIt = best[room - weight]! + value;
      if (withIt > best[room]!) {
        best[room] = withIt;
        const bit = index * width + room;
        taken[bit >>> 3]! |= 1 << (bit & 7);
      }
    }
  }
  const chosen = p.map(() => false);
  let room = capacity;
  for (let index = p.length - 1; index >= 0; index--) {
    const bit = index * width + room;
    if ((taken[bit >>> 3]! >> (bit & 7)) & 1) {
      chosen[index] = true;
      room -= sizes[index]! / step;
    }
  }
  return chosen;
}

/** Greatest common divisor of all sizes: the knapsack's unit. */
export function unit(sizes: readonly number[]): number {
  return Math.max(1, sizes.reduce(gcd, 0));
}

export function total(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Σ of `values` over the chosen modules. */
export function sumChosen(values: readonly number[], chosen: readonly boolean[]): number {
  return values.reduce((sum, value, index) => (chosen[index] ? sum + value : sum), 0);
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}
