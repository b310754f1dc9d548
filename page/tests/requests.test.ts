import { describe, expect, it, vi } from "vitest";
import { type Answer, askGraph, askProduct, askTrace, type Fetch, Problem, type Trace } from "../src/model/api";
import { percentile, percentInWords, sendMany, summary } from "../src/model/many";
import { followTrace } from "../src/model/polling";

const BOOK = { ID: "1", Title: "T", Author: "A", Description: "D", Rating: 5 };
const signal = new AbortController().signal;
const answers =
  (body: unknown, status = 200, headers = {}): Fetch =>
  async () =>
    new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });

async function problemOf(promise: Promise<unknown>): Promise<Problem> {
  const found = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  expect(found).toBeInstanceOf(Problem);
  return found as Problem;
}

describe("asking for the book", () => {
  it("reads it, and what its headers say", async () => {
    const headers = { "x-trace-id": "abc", "x-served-by": "productpage-v1-0, reviews-v2-0" };
    const found = await askProduct([["uid", "100"]], signal, answers(BOOK, 200, headers));
    expect(found).toMatchObject({ product: BOOK, traceId: "abc", servedBy: ["productpage-v1-0", "reviews-v2-0"] });
  });

  it("sends the headers that are asked for", async () => {
    const ask = vi.fn(answers(BOOK));
    await askProduct([["uid", "100"]], signal, ask);
    expect(ask.mock.lastCall).toMatchObject(["/api/v1/products/1", { headers: [["uid", "100"]] }]);
  });

  it("says that nobody answers", async () => {
    const gone = async () => Promise.reject(new TypeError("Failed to fetch"));
    const problem = await problemOf(askProduct([], signal, gone));
    expect(problem.message).toBe("The gateway does not answer.");
    expect(problem.hint).toMatch(/meltemi up/);
  });

  it("says of productpage's 500 that a service failed, and keeps its trace", async () => {
    const failed = answers({ StatusMessage: "internal error", StatusCode: 500 }, 500, { "x-trace-id": "abc" });
    const problem = await problemOf(askProduct([], signal, failed));
    expect(problem.message).toMatch(/productpage answered 500/);
    expect(problem.traceId).toBe("abc");
  });

  it("says what a gateway without anybody behind it says", async () => {
    const problem = await problemOf(askProduct([], signal, answers("no healthy upstream", 503)));
    expect(problem.message).toBe("The answer is 503: no healthy upstream.");
  });

  it.each(["<html>", "null", "{}", '{"Title": "x", "Rating": "5"}'])("takes %s for no book", async (body) => {
    expect((await problemOf(askProduct([], signal, answers(body)))).message).toBe("The answer is no book.");
  });
});

describe("asking for traces", () => {
  it("takes what is not known yet for nothing", async () => {
    const none = { trace_id: "abc", complete: false, hops: [] };
    expect(await askTrace("abc", signal, answers(none))).toBeNull();
    expect(await askTrace("abc", signal, answers({ error: "nothing is known of trace abc" }, 404))).toBeNull();
  });

  it("leaves no trace itself", async () => {
    const ask = vi.fn(answers({ trace_id: "abc", complete: false, hops: [] }));
    await askTrace("abc", signal, ask);
    await askGraph(5, signal, ask);
    for (const [, init] of ask.mock.calls) {
      expect(new Headers(init?.headers).get("traceparent")).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    }
  });

  it("says where traces go instead", async () => {
    const elsewhere = { error: "traces go to http://collector:4318", hint: "look there", collector: "…" };
    const problem = await problemOf(askTrace("abc", signal, answers(elsewhere, 404)));
    expect([problem.message, problem.hint]).toEqual(["Traces go to http://collector:4318.", "Look there."]);
    expect((await problemOf(askGraph(5, signal, answers(elsewhere, 404)))).message).toBe(problem.message);
  });

  it("asks until a trace is complete, and shows each time what there is", async () => {
    const trace = (complete: boolean): Trace => ({ trace_id: "abc", complete, hops: [] });
    const come = [null, trace(false), trace(true), trace(true)];
    const shown: Trace[] = [];
    const ask = async () => come.shift() ?? null;
    const whole = await followTrace(ask, (each) => shown.push(each), signal, [0, 0, 0, 0]);
    expect([whole, shown.map((each) => each.complete), come.length]).toEqual([true, [false, true], 1]);
  });

  it("gives up after the last delay", async () => {
    const ask = vi.fn(async () => null);
    expect(await followTrace(ask, () => {}, signal, [0, 0])).toBe(false);
    expect(ask).toHaveBeenCalledTimes(2);
  });

  it("ends when it is aborted", async () => {
    const control = new AbortController();
    const following = followTrace(
      async () => null,
      () => {},
      control.signal,
      [60_000],
    );
    control.abort();
    await expect(following).rejects.toThrow();
  });
});

describe("many requests", () => {
  const answer = (Rating: number, servedBy: string[] = []): Answer => ({
    product: { ...BOOK, Rating },
    traceId: null,
    servedBy,
    milliseconds: 10,
  });

  it("are counted by rating, by version, and by failure", async () => {
    let sent = 0;
    const send = async () => {
      sent += 1;
      if (sent === 4) throw new Problem("The gateway does not answer.", "");
      return sent % 2 ? answer(1, ["reviews-v1-0"]) : answer(0, ["reviews-v3-0"]);
    };
    const tally = await sendMany(5, 2, send, () => {}, signal);
    expect([sent, tally.done]).toEqual([5, 5]);
    expect(Object.fromEntries(tally.ratings)).toEqual({ 0: 1, 1: 3 });
    expect(Object.fromEntries(tally.versions.get("reviews") ?? [])).toEqual({ v1: 3, v3: 1 });
    expect(summary(tally)).toBe("5 requests: 60 % with 1 star, 20 % with 0 stars, 20 % failed");
  });

  it("are never more at once than they may be", async () => {
    let now = 0;
    let most = 0;
    const send = async () => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 1));
      now -= 1;
      return answer(5);
    };
    expect((await sendMany(20, 3, send, () => {}, signal)).done).toBe(20);
    expect(most).toBe(3);
  });

  it("end when they are cancelled, and what is under way is no failure", async () => {
    const control = new AbortController();
    let sent = 0;
    const send = async () => {
      if (++sent === 5) control.abort();
      if (control.signal.aborted) throw new DOMException("aborted", "AbortError");
      return answer(5);
    };
    const tally = await sendMany(100, 1, send, () => {}, control.signal);
    expect([sent, tally.done, tally.failures.size]).toEqual([5, 4, 0]);
  });

  it("have shares that say neither none nor all where it is not so", () => {
    const said = [0, 0.01, 0.4, 20, 22.5, 99.99, 100].map(percentInWords);
    expect(said).toEqual(["0 %", "0.1 %", "0.4 %", "20 %", "22.5 %", "99.9 %", "100 %"]);
  });

  it("have percentiles", () => {
    expect(percentile([4, 1, 3, 2], 50)).toBe(3);
    expect(percentile([], 99)).toBe(0);
  });
});
