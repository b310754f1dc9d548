/** Where services and edges stand: layers from the outside in, by the longest way there. */

import type { Edge, Graph, Node } from "./api";

export const OUTSIDE = "";

export interface Size {
  width: number;
  height: number;
  /** Between layers, and between the nodes of one. */
  gap: number;
  between: number;
}

export interface Placed {
  service: string;
  node: Node | null; // null is the outside
  x: number;
  y: number;
}

/** A lane's share of an edge, beside the others across the edge's direction. */
export interface Strand {
  lane: string;
  requests: number;
  percent: number;
  width: number;
  path: string;
}

export interface Link {
  edge: Edge;
  /** Of the requests that came from outside, 0 to 100. */
  percent: number;
  strands: Strand[];
  label: { x: number; y: number };
}

export interface Picture {
  width: number;
  height: number;
  nodes: Placed[];
  links: Link[];
}

const THICK = 14;
const THIN = 2;

/** `down` has layers below each other, for narrow screens; else they stand from left to right. */
export function layout(graph: Graph, size: Size, down: boolean): Picture {
  const layers = inOrder(layersOf(graph), graph.edges);
  const [main, cross] = down ? [size.height, size.width] : [size.width, size.height];
  const longest = Math.max(0, ...layers.map((layer) => layer.length));
  const across = longest * cross + Math.max(0, longest - 1) * size.between;
  const byName = new Map(graph.nodes.map((node) => [node.service, node]));
  const places = new Map<string, Placed>();
  layers.forEach((layer, depth) => {
    const used = layer.length * cross + (layer.length - 1) * size.between;
    layer.forEach((service, place) => {
      const along = depth * (main + size.gap);
      const aside = (across - used) / 2 + place * (cross + size.between);
      const [x, y] = down ? [aside, along] : [along, aside];
      places.set(service, { service, node: byName.get(service) ?? null, x, y });
    });
  });
  const length = layers.length * main + Math.max(0, layers.length - 1) * size.gap;
  const entered = sum(graph.edges.filter((edge) => edge.source === OUTSIDE).map((e) => e.requests));
  const most = Math.max(1, ...graph.edges.map((edge) => edge.requests));
  return {
    width: down ? across : length,
    height: down ? length : across,
    nodes: [...places.values()],
    links: graph.edges
      .filter((edge) => edge.source !== edge.target)
      .map((edge) => link(edge, places, size, down, entered, most)),
  };
}

/** The longest way from the outside; an edge that closes a circle moves nobody. */
function layersOf(graph: Graph): string[][] {
  const services = new Set([...graph.nodes.map((node) => node.service)]);
  for (const edge of graph.edges) services.add(edge.source).add(edge.target);
  const below = new Map<string, string[]>();
  for (const { source, target } of graph.edges) below.set(source, [...(below.get(source) ?? []), target]);
  const targets = new Set(graph.edges.map((edge) => edge.target));
  const depths = new Map<string, number>();
  const visit = (service: string, depth: number, above: ReadonlySet<string>) => {
    if (above.has(service) || (depths.get(service) ?? -1) >= depth) return;
    depths.set(service, depth);
    const path = new Set(above).add(service);
    for (const next of below.get(service) ?? []) visit(next, depth + 1, path);
  };
  const roots = [...services].filter((service) => !targets.has(service)).sort();
  for (const root of roots) visit(root, 0, new Set());
  for (const service of [...services].sort()) if (!depths.has(service)) visit(service, 0, new Set());
  const layers: string[][] = [];
  for (const [service, depth] of depths) (layers[depth] ??= []).push(service);
  return layers.filter((layer) => layer !== undefined);
}

/** Each layer in the order of what it is called by, so that few edges cross. */
function inOrder(layers: string[][], edges: readonly Edge[]): string[][] {
  const place = new Map<string, number>();
  return layers.map((layer) => {
    const weight = (service: string) => {
      const above = edges.filter((e) => e.target === service && place.has(e.source));
      return above.length ? sum(above.map((e) => place.get(e.source) ?? 0)) / above.length : 0;
    };
    const ordered = [...layer].sort((a, b) => weight(a) - weight(b) || (a < b ? -1 : 1));
    ordered.forEach((service, index) => place.set(service, index - (ordered.length - 1) / 2));
    return ordered;
  });
}

function link(
  edge: Edge,
  places: ReadonlyMap<string, Placed>,
  size: Size,
  down: boolean,
  entered: number,
  most: number,
): Link {
  const [from, to] = [places.get(edge.source), places.get(edge.target)];
  if (!from || !to) throw new Error(`${edge.source} or ${edge.target} has no place`);
  const start = down
    ? { x: from.x + size.width / 2, y: from.y + size.height }
    : { x: from.x + size.width, y: from.y + size.height / 2 };
  const end = down
    ? { x: to.x + size.width / 2, y: to.y }
    : { x: to.x, y: to.y + size.height / 2 };
  const lanes = Object.entries(edge.lanes).filter(([, requests]) => requests > 0);
  const widths = lanes.map(([, requests]) => Math.max(THIN, (requests / most) * THICK));
  const bend = passesOthers(start, end, size, down) ? (down ? size.width : size.height) * 1.4 : 0;
  let offset = -sum(widths) / 2;
  const strands = lanes.map(([lane, requests], index): Strand => {
    const width = widths[index] ?? THIN;
    const aside = offset + width / 2;
    offset += width;
    const path = curve(shifted(start, aside, down), shifted(end, aside, down), bend, down);
    return { lane, requests, width, percent: (requests / edge.requests) * 100, path };
  });
  const percent = entered ? (edge.requests / entered) * 100 : 100;
  return { edge, percent, strands, label: middle(start, end, bend, down) };
}

interface Point {
  x: number;
  y: number;
}

/** Whether an edge is longer than from one layer to the next (or goes back): it makes a bow. */
function passesOthers(start: Point, end: Point, size: Size, down: boolean): boolean {
  const along = down ? end.y - start.y : end.x - start.x;
  return along > size.gap * 1.5 || along <= 0;
}

function shifted(point: Point, aside: number, down: boolean): Point {
  return down ? { x: point.x + aside, y: point.y } : { x: point.x, y: point.y + aside };
}

/** The two points that draw a curve to themselves, half way along. */
function controls(from: Point, to: Point, bend: number, down: boolean): [Point, Point] {
  const [mx, my] = [(from.x + to.x) / 2, (from.y + to.y) / 2];
  if (down) return [{ x: from.x + bend, y: my }, { x: to.x + bend, y: my }];
  return [{ x: mx, y: from.y + bend }, { x: mx, y: to.y + bend }];
}

function curve(from: Point, to: Point, bend: number, down: boolean): string {
  const [first, second] = controls(from, to, bend, down);
  const at = ({ x, y }: Point) => `${round(x)} ${round(y)}`;
  return `M${at(from)}C${at(first)} ${at(second)} ${at(to)}`;
}

/** Of the curve, where its share is written. */
function middle(from: Point, to: Point, bend: number, down: boolean): Point {
  const [first, second] = controls(from, to, bend, down);
  const half = (a: number, b: number, c: number, d: number) => round((a + 3 * b + 3 * c + d) / 8);
  return { x: half(from.x, first.x, second.x, to.x), y: half(from.y, first.y, second.y, to.y) };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function sum(values: readonly number[]): number {
  return values.reduce((all, each) => all + each, 0);
}
