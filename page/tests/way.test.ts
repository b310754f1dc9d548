import { describe, expect, it } from "vitest";
import type { Hop, Trace } from "../src/model/api";
import { laneClass, withLanes } from "../src/model/lanes";
import { inWords, rowsOf, served, total } from "../src/model/way";

const hop = (id: string, parent: string | null, start: number, duration: number): Hop => ({
  id,
  parent,
  start,
  duration,
  service: id,
  version: "v1",
  instance: null,
  name: id,
  lane: null,
  mark: null,
  protocol: null,
  path: null,
  error: null,
  traced: true,
});
const trace = (...hops: Hop[]): Trace => ({ trace_id: "t", complete: true, hops });

describe("the way of a request", () => {
  it("has each hop under the one that sent it, and when in the whole it was", () => {
    const rows = rowsOf(trace(hop("a", null, 0, 40), hop("b", "a", 10, 20), hop("c", "b", 12, 4)));
    expect(rows.map(({ depth, left, width }) => [depth, left, width])).toEqual([
      [0, 0, 100],
      [1, 25, 50],
      [2, 30, 10],
    ]);
  });

  it("keeps every bar inside, and wide enough to be seen", () => {
    for (const row of rowsOf(trace(hop("a", null, 0, 10), hop("b", "a", 10, 0), hop("c", "x", -3, 1)))) {
      expect(row.left).toBeGreaterThanOrEqual(0);
      expect(row.width).toBeGreaterThan(0);
      expect(row.left + row.width).toBeLessThanOrEqual(100.001);
    }
  });

  it("ends with the last hop that ends", () => {
    expect(total(trace(hop("a", null, 0, 10), hop("b", "a", 8, 7)))).toBe(15);
    expect(total(trace())).toBe(0);
  });

  it("says times with as many digits as matter", () => {
    const said = [0.03, 0.44, 9, 24.4, 1203].map(inWords);
    expect(said).toEqual(["0.03 ms", "0.4 ms", "9.0 ms", "24 ms", "1.20 s"]);
  });

  it("reads service and version of a replica's name", () => {
    expect(served("reviews-v2-0")).toEqual({ service: "reviews", version: "v2" });
    expect(served("product-page-v10.1-3")).toEqual({ service: "product-page", version: "v10.1" });
    expect(served("gateway-0")).toEqual({ service: "gateway", version: "" });
    expect(served("ratings")).toEqual({ service: "ratings", version: "" });
  });
});

describe("lanes", () => {
  it("keep their colours when others come", () => {
    const first = withLanes([], ["dev", "baseline", null]);
    const then = withLanes(first, ["canary", "dev"]);
    expect(then).toEqual(["dev", "canary"]);
    expect(laneClass("dev", first)).toBe(laneClass("dev", then));
    expect(laneClass("canary", then)).not.toBe(laneClass("dev", then));
  });

  it("that were seen before change nothing", () => {
    const known = withLanes([], ["dev"]);
    expect(withLanes(known, ["dev", "baseline", ""])).toBe(known);
  });

  it("have classes of their own for the baseline and for none", () => {
    expect(laneClass("baseline", [])).toBe("lane-baseline");
    expect(laneClass(null, [])).toBe("lane-none");
  });
});
