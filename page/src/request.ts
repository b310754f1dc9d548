/** One request and its trace, as state of the page. */

import { useCallback, useEffect, useRef, useState } from "react";
import { askProduct, askTrace, Problem, type Answer, type Trace } from "./model/api";
import { followTrace } from "./model/polling";

export type Way =
  | { state: "none" } // nothing was asked yet, or the answer has no trace
  | { state: "waiting"; id: string }
  | { state: "coming" | "whole" | "partial"; id: string; trace: Trace }
  | { state: "absent"; id: string } // nothing came in time
  | { state: "elsewhere"; id: string; problem: Problem };

export interface Asked {
  busy: boolean;
  /** The last book that came; it stays while another is asked for. */
  answer: Answer | null;
  problem: Problem | null;
  way: Way;
}

const NOTHING: Asked = { busy: false, answer: null, problem: null, way: { state: "none" } };

export function useRequest(): [Asked, (headers: ReadonlyArray<readonly [string, string]>) => void] {
  const [asked, setAsked] = useState<Asked>(NOTHING);
  const current = useRef<AbortController | null>(null);
  useEffect(() => () => current.current?.abort(), []);

  const ask = useCallback((headers: ReadonlyArray<readonly [string, string]>) => {
    current.current?.abort();
    const control = new AbortController();
    current.current = control;
    const { signal } = control;
    const change = (part: Partial<Asked>) => {
      if (!signal.aborted) setAsked((before) => ({ ...before, ...part }));
    };
    change({ busy: true });
    void askProduct(headers, signal)
      .then(
        (answer) => {
          change({ busy: false, answer, problem: null });
          return answer.traceId;
        },
        (error: unknown) => {
          const problem = error instanceof Problem ? error : new Problem(String(error), "");
          change({ busy: false, problem });
          return problem.traceId;
        },
      )
      .then((id) => (id ? follow(id, signal, change) : change({ way: { state: "none" } })));
  }, []);
  return [asked, ask];
}

async function follow(id: string, signal: AbortSignal, change: (part: Partial<Asked>) => void): Promise<void> {
  change({ way: { state: "waiting", id } });
  let last: Trace | null = null;
  try {
    const show = (trace: Trace) => {
      last = trace;
      change({ way: { state: trace.complete ? "whole" : "coming", id, trace } });
    };
    const whole = await followTrace(() => askTrace(id, signal), show, signal);
    if (!whole) change({ way: last ? { state: "partial", id, trace: last } : { state: "absent", id } });
  } catch (error) {
    if (signal.aborted) return;
    const problem = error instanceof Problem ? error : new Problem(String(error), "");
    change({ way: { state: "elsewhere", id, problem } });
  }
}
