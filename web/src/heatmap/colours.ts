// Colours of the heatmap. p is on one fixed scale, 0 to 1, whatever the structure, so that two can be compared by eye.

export interface Theme {
  surface: string;
  ink: string;
  quiet: string;
  faint: string;
  bar: string;
  /** A chosen module whose p is not known. */
  unknown: string;
  /** p = 0 … p = 1, evenly spaced. */
  sequential: readonly string[];
  /** −1 … +1, evenly spaced. */
  diverging: readonly string[];
}

export const LIGHT: Theme = {
  surface: "#ffffff",
  ink: "#16181d",
  quiet: "#5c6370",
  faint: "#b9bfc9",
  bar: "#7a8699",
  unknown: "#e3e6ea",
  sequential: ["#eaf1fb", "#b9d5f5", "#7fb2ec", "#4389dc", "#1f5fb4", "#123f7e", "#0a2550"],
  diverging: ["#8f2a1c", "#cf5f45", "#eda58e", "#efeeec", "#94b9ea", "#3f7fd0", "#17488f"],
};

export const DARK: Theme = {
  surface: "#15181e",
  ink: "#f0f2f5",
  quiet: "#a0a8b5",
  faint: "#4b525f",
  bar: "#7f8a9b",
  unknown: "#343b46",
  sequential: ["#1f2835", "#1f3d66", "#215a9c", "#3380d1", "#66a8ea", "#a4cff5", "#e3f1fd"],
  diverging: ["#ffb29c", "#e27a5e", "#8a4636", "#2b2f36", "#2f5c94", "#5a98e0", "#b4d6fa"],
};

/** Colour of p in [0, 1]. */
export const sequential = (theme: Theme, p: number): string => along(theme.sequential, p);

/** Colour of a difference in [−1, 1]. */
export const diverging = (theme: Theme, difference: number): string => along(theme.diverging, (difference + 1) / 2);

function along(stops: readonly string[], at: number): string {
  const place = Math.min(1, Math.max(0, at)) * (stops.length - 1);
  const below = Math.min(stops.length - 2, Math.floor(place));
  const part = place - below;
  const [low, high] = [channels(stops[below]!), channels(stops[below + 1]!)];
  const mixed = low.map((value, index) => Math.round(value + (high[index]! - value) * part));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

const channels = (colour: string): number[] => [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
