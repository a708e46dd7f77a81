import { describe, expect, it } from "vitest";
import { atBudget, choose, exact, exactIsFeasible, greedy, logit, sumChosen, unit } from "../src/selection";

// The reference's test vector: method.md section 3, and src/structure/selection.rs.
const P = [0.180919, 0.04697, 0.497466, 0.118143, 0.318617];
const SIZES = [2048, 1024, 5120, 1024, 3168];

describe("the reference's test vector", () => {
  it("greedy", () => {
    const chosen = greedy(P, SIZES, 4096);
    expect(chosen).toEqual([false, false, false, false, true]);
    expect(sumChosen(P, chosen)).toBeCloseTo(0.318617, 9);
  });
  it("exact", () => {
    const chosen = exact(P, SIZES, 4096);
    expect(chosen).toEqual([true, true, false, true, false]);
    expect(sumChosen(P, chosen)).toBeCloseTo(0.346032, 9);
  });
});

describe("another budget", () => {
  it("shifts all logits alike until the budget is met", () => {
    const p = atBudget([P.map(logit)], SIZES, 8192);
    expect(sumChosen(SIZES.map((size, index) => size * p[index]!), [true, true, true, true, true])).toBeCloseTo(8192, 6);
    const shifts = p.map((one, index) => logit(one) - logit(P[index]!));
    for (const shift of shifts) expect(shift).toBeCloseTo(shifts[0]!, 6);
    expect(atBudget([[0, 0.5, 1].map(logit)], [8, 8, 8], 12)[0]).toBe(0);
  });
  it("is the mean of each seed's, however firm it is", () => {
    const p = atBudget([[60, 62, 64], [70, 72, 74]], [8, 8, 8], 12);
    expect(sumChosen(p.map((one) => one * 8), [true, true, true])).toBeCloseTo(12, 6);
    expect(p[0]! < p[1]! && p[1]! < p[2]!).toBe(true);
  });
});

/** A small deterministic generator, so that a failure can be repeated. */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function bruteForce(p: number[], sizes: number[], budget: number): number {
  let best = 0;
  for (let set = 0; set < 1 << p.length; set++) {
    const chosen = p.map((_, index) => ((set >> index) & 1) === 1);
    if (sumChosen(sizes, chosen) <= budget) best = Math.max(best, sumChosen(p, chosen));
  }
  return best;
}

describe("properties", () => {
  it("never over budget; exact is the best and at least greedy", () => {
    for (let seed = 0; seed < 200; seed++) {
      const next = numbers(seed);
      const count = 1 + Math.floor(next() * 10);
      const p = Array.from({ length: count }, next);
      const sizes = Array.from({ length: count }, () => 8 * (1 + Math.floor(next() * 20)));
      const budget = Math.floor(next() * 900);
      const [byExact, byGreedy] = [choose("exact", p, sizes, budget), choose("greedy", p, sizes, budget)];
      expect(sumChosen(sizes, byExact)).toBeLessThanOrEqual(budget);
      expect(sumChosen(sizes, byGreedy)).toBeLessThanOrEqual(budget);
      expect(sumChosen(p, byExact)).toBeCloseTo(bruteForce(p, sizes, budget), 9);
      expect(sumChosen(p, byExact)).toBeGreaterThanOrEqual(sumChosen(p, byGreedy) - 1e-12);
    }
  });

  it("takes everything at or above the space, and nothing below the smallest", () => {
    expect(exact(P, SIZES, 12384)).toEqual([true, true, true, true, true]);
    expect(exact(P, SIZES, 1023)).toEqual([false, false, false, false, false]);
  });

  it("gives ties to the earlier module", () => {
    expect(greedy([0.5, 0.5, 0.5], [4, 4, 4], 8)).toEqual([true, true, false]);
    expect(exact([0.5, 0.5, 0.5], [4, 4, 4], 8)).toEqual([true, true, false]);
  });

  it("knows its unit and its limit", () => {
    expect(unit(SIZES)).toBe(32);
    expect(exactIsFeasible(SIZES, 12000)).toBe(true);
    expect(exactIsFeasible(Array.from({ length: 1000 }, (_, i) => 4095 + (i % 2)), 1_000_000)).toBe(false);
  });
});
