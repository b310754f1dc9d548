/** The way of a request as rows: who, how deep, when and how long. */

import type { Hop, Trace } from "./api";

export interface Row {
  hop: Hop;
  depth: number;
  /** Of the whole width, 0 to 100. */
  left: number;
  width: number;
}

const LEAST = 0.8; // percent: a bar that can be seen

export function total(trace: Trace): number {
  return Math.max(0, ...trace.hops.map((hop) => hop.start + hop.duration));
}

/** Rows in the order of the trace, which has each hop after the one that sent it. */
export function rowsOf(trace: Trace): Row[] {
  const whole = total(trace) || 1;
  const depths = new Map<string, number>();
  return trace.hops.map((hop) => {
    const above = hop.parent === null ? undefined : depths.get(hop.parent);
    const depth = above === undefined ? 0 : above + 1;
    depths.set(hop.id, depth);
    const width = Math.max(LEAST, (hop.duration / whole) * 100);
    const left = Math.min(100 - width, Math.max(0, (hop.start / whole) * 100));
    return { hop, depth, left: Math.max(0, left), width: Math.min(100, width) };
  });
}

/** `24 ms`, `0.4 ms`, `1.20 s`. */
export function inWords(milliseconds: number): string {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(2)} s`;
  if (milliseconds >= 10) return `${Math.round(milliseconds)} ms`;
  return `${milliseconds.toFixed(milliseconds < 0.1 ? 2 : 1)} ms`;
}

/** A replica's name in its parts: `reviews-v2-0` is service reviews, version v2. */
export function served(instance: string): { service: string; version: string } {
  const found = /^(.+?)-(v[0-9][^-]*)-\d+$/.exec(instance) ?? /^(.+?)(?:-\d+)?$/.exec(instance);
  return { service: found?.[1] ?? instance, version: found?.[2] ?? "" };
}
