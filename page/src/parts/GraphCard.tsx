import { useCallback, useEffect, useRef, useState } from "react";
import { Button, Card, IconRefresh, Radio } from "../arco";
import { askGraph, Problem, type Graph } from "../model/api";
import { BASELINE, laneClass, laneName } from "../model/lanes";
import { layout, OUTSIDE, type Link, type Picture, type Placed } from "../model/layout";
import { percentInWords } from "../model/many";
import { inWords } from "../model/way";

const AGAIN_MS = 5000;
const NARROW = 560; // of the card, in pixels: layers go down
const WIDE_SIZE = { width: 124, height: 52, gap: 92, between: 34 };
const NARROW_SIZE = { width: 116, height: 52, gap: 66, between: 22 };
const MINUTES = [1, 5, 15];

interface Properties {
  lanes: readonly string[];
  seen: (lanes: Iterable<string | null>) => void;
  /** Grows when requests were sent, so that the graph is asked for again. */
  changed: number;
}

export function GraphCard({ lanes, seen, changed }: Properties) {
  const [minutes, setMinutes] = useState(5);
  const [graph, setGraph] = useState<Graph | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const read = useGraph(minutes, setGraph, setProblem);
  useEffect(() => void read(), [read, changed]);
  useEffect(() => {
    if (graph) seen(graph.edges.flatMap((edge) => Object.keys(edge.lanes)));
  }, [graph, seen]);
  return (
    <section aria-labelledby="graph-title" className="wide">
      <Card
        className="card"
        bordered={false}
        title={<h2 id="graph-title">Services</h2>}
        extra={
          <div className="graph-controls">
            <Radio.Group
              type="button"
              name="minutes"
              size="small"
              value={minutes}
              onChange={setMinutes}
              aria-label="Of the last minutes"
              options={MINUTES.map((value) => ({ value, label: `${value} min` }))}
            />
            <Button type="text" icon={<IconRefresh />} onClick={() => void read()} aria-label="Read the graph again" />
          </div>
        }
      >
        <GraphBody graph={graph} problem={problem} lanes={lanes} />
      </Card>
    </section>
  );
}

/** Reads the graph now and every few seconds while the page is looked at. */
function useGraph(
  minutes: number,
  setGraph: (graph: Graph) => void,
  setProblem: (problem: Problem | null) => void,
): () => Promise<void> {
  const control = useRef<AbortController | null>(null);
  const read = useCallback(async () => {
    control.current?.abort();
    const { signal } = (control.current = new AbortController());
    try {
      const found = await askGraph(minutes, signal);
      if (signal.aborted) return;
      setGraph(found);
      setProblem(null);
    } catch (error) {
      if (signal.aborted) return;
      setProblem(error instanceof Problem ? error : new Problem(String(error), ""));
    }
  }, [minutes, setGraph, setProblem]);
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.visibilityState === "visible") void read();
    }, AGAIN_MS);
    return () => {
      clearInterval(timer);
      control.current?.abort();
    };
  }, [read]);
  return read;
}

function GraphBody({ graph, problem, lanes }: { graph: Graph | null; problem: Problem | null; lanes: readonly string[] }) {
  const [room, width] = useWidth();
  const down = width > 0 && width < NARROW;
  const picture = graph && layout(graph, down ? NARROW_SIZE : WIDE_SIZE, down);
  const empty = !picture || picture.links.length === 0;
  return (
    <div ref={room} className="graph">
      {problem && (
        <p className="quiet" role="status">
          {problem.message} {problem.hint}
        </p>
      )}
      {!problem && empty && (
        <p className="quiet graph-empty">{graph ? "No request in these minutes." : "Reading…"}</p>
      )}
      {!problem && graph && picture && !empty && (
        <>
          <Drawing picture={picture} lanes={lanes} down={down} />
          <Legend graph={graph} lanes={lanes} />
          <AsTable picture={picture} />
        </>
      )}
    </div>
  );
}

function useWidth(): [React.RefObject<HTMLDivElement>, number] {
  const room = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const watched = room.current;
    if (!watched) return;
    const observer = new ResizeObserver(([entry]) => entry && setWidth(entry.contentRect.width));
    observer.observe(watched);
    return () => observer.disconnect();
  }, []);
  return [room, width];
}

function Drawing({ picture, lanes, down }: { picture: Picture; lanes: readonly string[]; down: boolean }) {
  const size = down ? NARROW_SIZE : WIDE_SIZE;
  const edge = 8;
  const box = `${-edge} ${-edge} ${picture.width + 2 * edge} ${picture.height + 2 * edge}`;
  return (
    <svg
      className="drawing"
      viewBox={box}
      style={{ maxWidth: picture.width + 2 * edge }}
      role="img"
      aria-label="Services and the requests between them; the table below says the same"
    >
      {picture.links.map((link) => (
        <Strands key={`${link.edge.source}>${link.edge.target}`} link={link} lanes={lanes} />
      ))}
      {picture.nodes.map((placed) => (
        <Box key={placed.service} placed={placed} width={size.width} height={size.height} />
      ))}
      {picture.links.map((link) => (
        <text
          key={`${link.edge.source}>${link.edge.target}`}
          className="share"
          x={link.label.x}
          y={link.label.y}
          textAnchor="middle"
          dominantBaseline="central"
        >
          {percentInWords(Math.round(link.percent) || link.percent)}
        </text>
      ))}
    </svg>
  );
}

function Strands({ link, lanes }: { link: Link; lanes: readonly string[] }) {
  return (
    <g>
      {link.strands.map((strand) => (
        <path
          key={strand.lane}
          className={`strand ${laneClass(strand.lane, lanes)}`}
          d={strand.path}
          strokeWidth={strand.width}
        >
          <title>{`${laneName(strand.lane)}: ${strand.requests}`}</title>
        </path>
      ))}
    </g>
  );
}

function Box({ placed, width, height }: { placed: Placed; width: number; height: number }) {
  const { node, service, x, y } = placed;
  const outside = service === OUTSIDE;
  const versions = Object.keys(node?.versions ?? {}).filter(Boolean).join(" · ");
  const failed = node?.errors ?? 0;
  const below = outside ? "requests" : versions || `${node?.requests ?? 0} requests`;
  return (
    <g transform={`translate(${x} ${y})`} className={outside ? "node outside" : "node"}>
      <rect width={width} height={height} rx="10" />
      <text className="node-name" x={width / 2} y={height / 2 - 8} textAnchor="middle" dominantBaseline="central">
        {outside ? "Outside" : short(service)}
      </text>
      <text
        className={failed ? "node-more node-failed" : "node-more"}
        x={width / 2}
        y={height / 2 + 11}
        textAnchor="middle"
        dominantBaseline="central"
      >
        {failed ? `${failed} of ${node?.requests} failed` : below}
      </text>
    </g>
  );
}

function short(service: string): string {
  return service.length > 14 ? `${service.slice(0, 13)}…` : service;
}

function Legend({ graph, lanes }: { graph: Graph; lanes: readonly string[] }) {
  const there = new Set(graph.edges.flatMap((edge) => Object.keys(edge.lanes)));
  const order = [...lanes, BASELINE, ""].filter((lane) => there.has(lane));
  return (
    <ul className="legend" aria-label="Colours of lanes">
      {order.map((lane) => (
        <li key={lane} className={laneClass(lane, lanes)}>
          <span className="dot" aria-hidden="true" />
          {laneName(lane)}
        </li>
      ))}
    </ul>
  );
}

function AsTable({ picture }: { picture: Picture }) {
  return (
    <details className="as-table">
      <summary>As a table</summary>
      <div className="table-room" tabIndex={0} role="region" aria-label="Requests between services">
        <table>
          <thead>
            <tr>
              <th scope="col">From</th>
              <th scope="col">To</th>
              <th scope="col">Requests</th>
              <th scope="col">Share</th>
              <th scope="col">Lanes</th>
              <th scope="col">Failed</th>
              <th scope="col">Mean</th>
            </tr>
          </thead>
          <tbody>
            {picture.links.map(({ edge, percent, strands }) => (
              <tr key={`${edge.source}>${edge.target}`}>
                <td>{edge.source || "Outside"}</td>
                <td>{edge.target}</td>
                <td>{edge.requests}</td>
                <td>{percentInWords(percent)}</td>
                <td>{strands.map((each) => `${laneName(each.lane)} ${percentInWords(each.percent)}`).join(", ")}</td>
                <td>{edge.errors}</td>
                <td>{inWords(edge.duration)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
