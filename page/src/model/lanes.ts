/** How lanes are named and coloured: one colour a lane, everywhere on the page. */

export const BASELINE = "baseline";
export const COLOURS = 6;

/** The lane of a hop or an edge for people; null and "" are requests of which nobody says one. */
export function laneName(lane: string | null): string {
  if (!lane) return "no lane";
  return lane;
}

/** CSS class of a lane's colour: of a lane that has one, the next that is free in `known`. */
export function laneClass(lane: string | null, known: readonly string[]): string {
  if (!lane) return "lane-none";
  if (lane === BASELINE) return "lane-baseline";
  const place = known.indexOf(lane);
  return `lane-${(place < 0 ? 0 : place) % COLOURS}`;
}

/** Lanes that were seen, in the order in which they were: a colour never changes. */
export function withLanes(known: readonly string[], seen: Iterable<string | null>): readonly string[] {
  const all = new Set(known);
  for (const lane of seen) if (lane && lane !== BASELINE) all.add(lane);
  return all.size === known.length ? known : [...all];
}
