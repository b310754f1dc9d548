import { type CSSProperties } from "react";
import { Alert, Card, Tag } from "../arco";
import type { Hop, Trace } from "../model/api";
import { laneClass, laneName } from "../model/lanes";
import { inWords, rowsOf, served, total, type Row } from "../model/way";
import type { Asked, Way } from "../request";

export function WayCard({ asked, lanes }: { asked: Asked; lanes: readonly string[] }) {
  const { way, answer } = asked;
  const trace = "trace" in way ? way.trace : null;
  const servedBy = asked.problem ? [] : (answer?.servedBy ?? []);
  return (
    <section aria-labelledby="way-title" className="fill">
      <Card className="card way" bordered={false} title={<h2 id="way-title">The way it took</h2>}>
        <p className="way-state" aria-live="polite" data-testid="way-state" data-state={way.state}>
          {inOneLine(way, asked)}
        </p>
        <Notice way={way} />
        {trace ? <Hops trace={trace} lanes={lanes} /> : <Names way={way} servedBy={servedBy} />}
        {"id" in way && (
          <p className="trace-id">
            <span className="quiet">Trace</span> <code>{way.id}</code>
          </p>
        )}
      </Card>
    </section>
  );
}

function inOneLine(way: Way, asked: Asked): string {
  switch (way.state) {
    case "whole":
    case "coming":
    case "partial": {
      const hops = way.trace.hops.length;
      const more = way.state === "coming" ? "; more may come" : "";
      return `${hops} ${hops === 1 ? "hop" : "hops"} in ${inWords(total(way.trace))}${more}`;
    }
    case "waiting":
      return "Waiting for its spans…";
    case "none":
      if (asked.busy || (!asked.answer && !asked.problem)) return "Asking…";
      return "This answer names no trace: the processes export none.";
    case "absent":
      return "Its spans have not come.";
    case "elsewhere":
      return "Its trace cannot be shown here.";
  }
}

function Notice({ way }: { way: Way }) {
  if (way.state === "elsewhere")
    return <Alert className="problem" type="info" title={way.problem.message} content={way.problem.hint || undefined} />;
  if (way.state === "absent")
    return (
      <Alert
        className="problem"
        type="warning"
        title="No span of this request came in time."
        content="The processes may export to somewhere else: “meltemi status” says where traces go."
      />
    );
  if (way.state === "partial")
    return (
      <Alert
        className="problem"
        type="warning"
        title="Spans are missing."
        content="A process may export none, or be slow to. This is what is known."
      />
    );
  return null;
}

function Hops({ trace, lanes }: { trace: Trace; lanes: readonly string[] }) {
  return (
    <ol className="hops" data-testid="hops">
      {rowsOf(trace).map((row) => (
        <HopRow key={row.hop.id} row={row} lanes={lanes} />
      ))}
    </ol>
  );
}

function HopRow({ row, lanes }: { row: Row; lanes: readonly string[] }) {
  const { hop, depth } = row;
  const place = { "--depth": Math.min(depth, 5), "--left": `${row.left}%`, "--width": `${row.width}%` };
  return (
    <li className={`hop ${laneClass(hop.lane, lanes)}`} style={place as CSSProperties}>
      <div className="hop-line">
        <span className="hop-name">{hop.service}</span>
        {hop.version && <Tag size="small">{hop.version}</Tag>}
        <LaneTag lane={hop.lane} />
        {hop.error && (
          <Tag size="small" className="failed">
            failed
          </Tag>
        )}
        <span className="hop-time">{inWords(hop.duration)}</span>
      </div>
      <div className="bar-ground" aria-hidden="true">
        <div className="bar" />
      </div>
      <p className="hop-more">{more(hop)}</p>
    </li>
  );
}

function more(hop: Hop): string {
  const parts = [hop.error, hop.name, hop.protocol];
  if (!hop.traced) parts.push("told by its caller");
  if (hop.mark && hop.mark !== hop.lane) parts.push(`asked for lane ${hop.mark}`);
  return parts.filter(Boolean).join(" · ");
}

export function LaneTag({ lane }: { lane: string | null }) {
  if (!lane) return null;
  return (
    <span className="lane">
      <span className="unseen">lane </span>
      {laneName(lane)}
    </span>
  );
}

/** What the answer's own headers say, while or where no trace does. */
function Names({ way, servedBy }: { way: Way; servedBy: string[] }) {
  const later = way.state === "waiting" || way.state === "none";
  if (!servedBy.length) return later ? <div className="hops-room" /> : null;
  return (
    <ol className="hops" data-testid="served-by">
      {servedBy.map((instance) => {
        const { service, version } = served(instance);
        return (
          <li key={instance} className="hop lane-none">
            <div className="hop-line">
              <span className="hop-name">{service}</span>
              {version && <Tag size="small">{version}</Tag>}
            </div>
            <div className="bar-ground" aria-hidden="true" />
            <p className="hop-more">{instance}</p>
          </li>
        );
      })}
    </ol>
  );
}
