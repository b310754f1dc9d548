/** Asks for a trace until it is whole: spans come a moment after the answer that they are about. */

import type { Trace } from "./api";

export const DELAYS = [150, 250, 350, 500, 500, 750, 1000, 1000, 1500, 1500];

/**
 * Calls `show` with what is known each time; ends once it is complete, or after the last delay.
 * Whether it became complete. Rejects with what `ask` rejects with, and when `signal` is aborted.
 */
export async function followTrace(
  ask: () => Promise<Trace | null>,
  show: (trace: Trace) => void,
  signal: AbortSignal,
  delays: readonly number[] = DELAYS,
): Promise<boolean> {
  for (const delay of delays) {
    await pause(delay, signal);
    const trace = await ask();
    signal.throwIfAborted();
    if (trace === null) continue;
    show(trace);
    if (trace.complete) return true;
  }
  return false;
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const ended = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", ended);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", ended, { once: true });
  });
}
