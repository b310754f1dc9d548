/** Many requests at once, and what became of them. */

import { Problem, type Answer } from "./api";
import { served } from "./way";

/** A browser opens no more connections to one host (HTTP/1.1). */
export const MOST_AT_ONCE = 6;
export const MOST_REQUESTS = 2000;

export interface Tally {
  done: number;
  /** Answers by rating. */
  ratings: Map<number, number>;
  /** By service, answers by version. */
  versions: Map<string, Map<string, number>>;
  /** Requests that failed, by what is said of it. */
  failures: Map<string, number>;
  milliseconds: number[];
}

export function emptyTally(): Tally {
  return { done: 0, ratings: new Map(), versions: new Map(), failures: new Map(), milliseconds: [] };
}

export function count(tally: Tally, answer: Answer): void {
  tally.done += 1;
  tally.milliseconds.push(answer.milliseconds);
  add(tally.ratings, answer.product.Rating);
  for (const instance of answer.servedBy) {
    const { service, version } = served(instance);
    const versions = tally.versions.get(service) ?? new Map<string, number>();
    add(versions, version);
    tally.versions.set(service, versions);
  }
}

export function countFailure(tally: Tally, error: unknown): void {
  tally.done += 1;
  add(tally.failures, error instanceof Problem ? error.message : String(error));
}

function add<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** Sends `requests`, at most `atOnce` at a time; `counted` after each. Ends early when aborted. */
export async function sendMany(
  requests: number,
  atOnce: number,
  send: () => Promise<Answer>,
  counted: (tally: Tally) => void,
  signal: AbortSignal,
): Promise<Tally> {
  const tally = emptyTally();
  let begun = 0;
  const worker = async () => {
    while (begun < requests && !signal.aborted) {
      begun += 1;
      try {
        count(tally, await send());
      } catch (error) {
        if (signal.aborted) return;
        countFailure(tally, error);
      }
      counted(tally);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, requests) }, worker));
  return tally;
}

export interface Share<Key> {
  key: Key;
  requests: number;
  /** Of all, 0 to 100. */
  percent: number;
}

export function shares<Key>(counts: ReadonlyMap<Key, number>, all: number): Share<Key>[] {
  return [...counts].map(([key, requests]) => ({ key, requests, percent: all ? (requests / all) * 100 : 0 }));
}

/** `80 %`, `0.4 %`; nothing that is there is 0, and nothing but all is 100. */
export function percentInWords(percent: number): string {
  if (percent > 0 && percent < 1) return `${Math.max(0.1, percent).toFixed(1)} %`;
  if (percent > 99 && percent < 100) return `${Math.min(99.9, percent).toFixed(1)} %`;
  return `${Number(percent.toFixed(1))} %`;
}

/** The value that so many percent of all are not above. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((percent / 100) * sorted.length))] ?? 0;
}

/** For those who hear the page: `100 requests: 80 % with 1 star, 20 % with 0 stars`. */
export function summary(tally: Tally): string {
  const parts = shares(tally.ratings, tally.done)
    .sort((a, b) => b.requests - a.requests)
    .map(({ key, percent }) => `${percentInWords(percent)} with ${key} ${key === 1 ? "star" : "stars"}`);
  const failed = [...tally.failures.values()].reduce((sum, each) => sum + each, 0);
  if (failed) parts.push(`${percentInWords((failed / tally.done) * 100)} failed`);
  return `${tally.done} ${tally.done === 1 ? "request" : "requests"}: ${parts.join(", ") || "none answered"}`;
}
