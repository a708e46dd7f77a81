const NUMBERS = new Intl.NumberFormat("en");
const DATES = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const count = (value: number): string => NUMBERS.format(value);

/** `1 module`, `12 modules`. */
export const plural = (value: number, word: string): string => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

export const short = (id: string): string => id.slice(0, 8);

export function date(text: string | null | undefined): string {
  return text ? DATES.format(new Date(text)) : "–";
}

export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const whole = Math.round(value);
  if (whole < 60) return `${value < 10 ? value.toFixed(1) : whole} s`;
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

export function percent(share: number): string {
  const value = share * 100;
  return `${value >= 10 ? value.toFixed(1) : value.toPrecision(value >= 1 ? 3 : 2)} %`;
}

export function decimal(value: number | null | undefined, digits = 4): string {
  return value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits);
}

/** Scores in [0, 1] and correlations to three places. */
export const score = (value: number | null | undefined): string => decimal(value, 3);
