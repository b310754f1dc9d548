import { describe, expect, it } from "vitest";
import type { Edge, Graph } from "../src/model/api";
import { layout, type Size } from "../src/model/layout";

const SIZE: Size = { width: 100, height: 50, gap: 80, between: 30 };
const edge = (source: string, target: string, lanes: Record<string, number> = { "": 1 }): Edge => {
  const requests = Object.values(lanes).reduce((a, b) => a + b, 0);
  return { source, target, requests, errors: 0, lanes, duration: 1 };
};
const graph = (...edges: Edge[]): Graph => {
  const services = [...new Set(edges.map((each) => each.target))];
  return { minutes: 5, nodes: services.map((service) => ({ service, requests: 1, errors: 0, versions: {} })), edges };
};
const BOOKINFO = graph(
  edge("", "productpage", { "": 10 }),
  edge("productpage", "details", { baseline: 10 }),
  edge("productpage", "reviews", { dev: 2, baseline: 8 }),
  edge("reviews", "ratings", { dev: 2, baseline: 6 }),
);
const to = (target: string) => layout(BOOKINFO, SIZE, false).links.find((link) => link.edge.target === target);

describe("the graph's layout", () => {
  it("stands from the outside in, in layers", () => {
    const { nodes } = layout(BOOKINFO, SIZE, false);
    const x = Object.fromEntries(nodes.map((node) => [node.service, node.x]));
    expect(x).toEqual({ "": 0, productpage: 180, details: 360, reviews: 360, ratings: 540 });
  });

  it("goes down on a narrow screen", () => {
    const { nodes, width, height } = layout(BOOKINFO, SIZE, true);
    const y = Object.fromEntries(nodes.map((node) => [node.service, node.y]));
    expect(y).toEqual({ "": 0, productpage: 130, details: 260, reviews: 260, ratings: 390 });
    expect([width, height]).toEqual([230, 440]);
  });

  it.each([false, true])("lets no two services overlap, and none stand outside", (down) => {
    const { nodes, width, height } = layout(BOOKINFO, SIZE, down);
    for (const a of nodes) {
      expect(a.x >= 0 && a.y >= 0 && a.x + SIZE.width <= width && a.y + SIZE.height <= height).toBe(true);
      for (const b of nodes) {
        const apart = Math.abs(a.x - b.x) >= SIZE.width || Math.abs(a.y - b.y) >= SIZE.height;
        expect(a === b || apart).toBe(true);
      }
    }
  });

  it("says what share of the requests from outside takes an edge, and of which lanes", () => {
    expect(to("ratings")?.percent).toBe(80);
    const lanes = to("ratings")?.strands.map((strand) => [strand.lane, strand.percent]);
    expect(lanes).toEqual([
      ["dev", 25],
      ["baseline", 75],
    ]);
  });

  it("draws strands as wide as their share, side by side", () => {
    const [dev, baseline] = to("reviews")?.strands ?? [];
    expect((baseline?.width ?? 0) / (dev?.width ?? 1)).toBeCloseTo(4);
    expect(dev?.path).not.toBe(baseline?.path);
  });

  it("ends where services call each other in a circle, or themselves", () => {
    const circle = graph(edge("", "a"), edge("a", "b"), edge("b", "a"), edge("b", "b"));
    const { nodes, links } = layout(circle, SIZE, false);
    expect(nodes.map((node) => node.service).sort()).toEqual(["", "a", "b"]);
    expect(links).toHaveLength(3);
    expect(layout(graph(edge("a", "b"), edge("b", "a")), SIZE, false).nodes).toHaveLength(2);
  });

  it("bows an edge that passes a layer, so that it crosses no service", () => {
    const { links } = layout(graph(edge("", "a"), edge("a", "b"), edge("", "b")), SIZE, false);
    const passing = links.find((link) => link.edge.source === "" && link.edge.target === "b");
    expect(Math.abs((passing?.label.y ?? 0) - SIZE.height / 2)).toBeGreaterThan(SIZE.height / 2);
  });

  it("of nothing is nothing", () => {
    expect(layout(graph(), SIZE, false)).toMatchObject({ nodes: [], links: [] });
  });
});
