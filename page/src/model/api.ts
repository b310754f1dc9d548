/** What the page asks of its own origin, as it comes over the wire. */

export interface Product {
  ID: string;
  Title: string;
  Author: string;
  Description: string;
  Rating: number;
}

/** One request that a service received. Times in milliseconds, `start` from the first hop's on. */
export interface Hop {
  id: string;
  parent: string | null;
  service: string;
  version: string | null;
  instance: string | null;
  name: string;
  lane: string | null;
  mark: string | null;
  start: number;
  duration: number;
  protocol: string | null;
  path: string | null;
  error: string | null;
  traced: boolean;
}

export interface Trace {
  trace_id: string;
  complete: boolean;
  hops: Hop[];
}

export interface Edge {
  source: string;
  target: string;
  requests: number;
  errors: number;
  lanes: Record<string, number>;
  duration: number;
}

export interface Node {
  service: string;
  requests: number;
  errors: number;
  versions: Record<string, number>;
}

export interface Graph {
  minutes: number;
  nodes: Node[];
  edges: Edge[];
}

/** An answer of productpage, with what its headers say of the way there. */
export interface Answer {
  product: Product;
  traceId: string | null;
  servedBy: string[];
  milliseconds: number;
}

/** A problem in the words of who looks at the page: what is wrong, and what may help. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly hint: string,
    readonly traceId: string | null = null,
    readonly milliseconds = 0,
  ) {
    super(message);
  }
}

/** Where the books are; the graph counts requests for these only. */
const PRODUCTS = "/api/v1/products/";

export type Fetch = (input: string, init?: RequestInit) => Promise<Response>;

export async function askProduct(
  headers: ReadonlyArray<readonly [string, string]>,
  signal: AbortSignal,
  ask: Fetch = fetch,
): Promise<Answer> {
  const began = performance.now();
  const response = await reach(ask, `${PRODUCTS}1`, { headers: headers.map((h) => [...h]), signal });
  const traceId = response.headers.get("x-trace-id");
  const text = await response.text();
  const milliseconds = performance.now() - began;
  if (!response.ok) throw ofStatus(response.status, text, traceId, milliseconds);
  const product = parsed(text);
  if (!isProduct(product)) {
    throw new Problem("The answer is no book.", "Is something else listening at this address?", traceId);
  }
  const servedBy = (response.headers.get("x-served-by") ?? "").split(",").map((each) => each.trim());
  return { product, traceId, servedBy: servedBy.filter(Boolean), milliseconds };
}

export async function askGraph(minutes: number, signal: AbortSignal, ask: Fetch = fetch): Promise<Graph> {
  const response = await reach(ask, `/api/v1/graph?minutes=${minutes}&path=${PRODUCTS}`, {
    headers: untraced(),
    signal,
  });
  const found = parsed(await response.text());
  if (!response.ok) throw ofAnswer(response.status, found);
  return found as Graph;
}

/** What is known of a trace now; null while nothing is. */
export async function askTrace(id: string, signal: AbortSignal, ask: Fetch = fetch): Promise<Trace | null> {
  const response = await reach(ask, `/api/v1/traces/${id}`, { headers: untraced(), signal });
  const found = parsed(await response.text());
  if (response.ok) return (found as Trace).hops.length > 0 ? (found as Trace) : null;
  if (response.status === 404 && textOf(found, "error").includes(id)) return null;
  throw ofAnswer(response.status, found);
}

/** A trace that is not sampled (W3C Trace Context): the page's own questions are not to be seen. */
function untraced(): Record<string, string> {
  return { traceparent: `00-${hex(16)}-${hex(8)}-00` };
}

function hex(bytes: number): string {
  const drawn = crypto.getRandomValues(new Uint8Array(bytes));
  return [...drawn].map((each) => each.toString(16).padStart(2, "0")).join("");
}

async function reach(ask: Fetch, path: string, init: RequestInit): Promise<Response> {
  try {
    return await ask(path, { cache: "no-store", ...init });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem(
      "The gateway does not answer.",
      "Is “meltemi up” still running? Start it, then ask again.",
    );
  }
}

function ofStatus(status: number, text: string, traceId: string | null, milliseconds: number): Problem {
  if (status === 500 && isObject(parsed(text), "StatusMessage")) {
    return new Problem(
      "productpage answered 500, internal error.",
      "A service that it asks did not answer; the way of this request says which.",
      traceId,
      milliseconds,
    );
  }
  const said = text.trim().slice(0, 200);
  const what = said && !said.startsWith("<") ? `: ${said}` : "";
  const hint =
    status >= 502
      ? "The gateway is there, but finds nobody behind it. “meltemi status” says what runs."
      : "No book can be had this way.";
  return new Problem(`The answer is ${status}${what}.`, hint, traceId, milliseconds);
}

function ofAnswer(status: number, found: unknown): Problem {
  const error = textOf(found, "error");
  if (!error) return new Problem(`The answer is ${status}.`, "Traces cannot be read here.");
  return new Problem(sentence(error), sentence(textOf(found, "hint")));
}

function sentence(text: string): string {
  if (!text) return "";
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?!]$/.test(begun) ? begun : `${begun}.`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isObject(value: unknown, member: string): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && member in value;
}

function textOf(value: unknown, member: string): string {
  return isObject(value, member) ? String(value[member]) : "";
}

function isProduct(value: unknown): value is Product {
  return isObject(value, "Title") && isObject(value, "Rating") && typeof value.Rating === "number";
}
