import { type CSSProperties, type FormEvent, useEffect, useId, useRef, useState } from "react";
import { Button, Card, InputNumber } from "../arco";
import { askProduct } from "../model/api";
import type { Headers } from "../model/headers";
import {
  emptyTally,
  MOST_AT_ONCE,
  MOST_REQUESTS,
  percentile,
  percentInWords,
  sendMany,
  shares,
  summary,
  type Share,
  type Tally,
} from "../model/many";
import { inWords } from "../model/way";

interface Run {
  state: "idle" | "running" | "done" | "cancelled";
  requests: number;
  tally: Tally;
}

const SHOWN_MS = 100; // the page is drawn at most so often while requests run

export function ManyCard({ headers, finished }: { headers: Headers; finished: () => void }) {
  const [requests, setRequests] = useState(100);
  const [atOnce, setAtOnce] = useState(4);
  const [run, start, cancel] = useRun(finished);
  const running = run.state === "running";
  const id = useId();
  const wrong = headers.uidProblem !== null || headers.problems.size > 0;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!running && !wrong) start(requests, atOnce, headers.pairs);
  };
  return (
    <section aria-labelledby="many-title" className="wide">
      <Card className="card" bordered={false} title={<h2 id="many-title">Many requests</h2>}>
        <form className="many-form" onSubmit={submit}>
          <NumberField
            id={`${id}-requests`}
            label="Requests"
            value={requests}
            change={setRequests}
            most={MOST_REQUESTS}
          />
          <NumberField id={`${id}-once`} label="At once" value={atOnce} change={setAtOnce} most={MOST_AT_ONCE} />
          {running ? (
            <Button key="cancel" htmlType="button" onClick={cancel}>
              Cancel
            </Button>
          ) : (
            <Button key="start" type="primary" htmlType="submit" disabled={wrong}>
              Start
            </Button>
          )}
          <p className="hint many-hint">With the uid and the headers above.</p>
        </form>
        <Results run={run} />
      </Card>
    </section>
  );
}

interface NumberProperties {
  id: string;
  label: string;
  value: number;
  change: (value: number) => void;
  most: number;
}

function NumberField({ id, label, value, change, most }: NumberProperties) {
  return (
    <div className="number-field">
      <label className="field-label" htmlFor={id}>
        {label}
      </label>
      <InputNumber
        id={id}
        value={value}
        onChange={(found) => change(Math.min(most, Math.max(1, Math.round(found || 1))))}
        min={1}
        max={most}
        precision={0}
        mode="button"
      />
    </div>
  );
}

function useRun(
  finished: () => void,
): [Run, (requests: number, atOnce: number, headers: Headers["pairs"]) => void, () => void] {
  const [run, setRun] = useState<Run>({ state: "idle", requests: 0, tally: emptyTally() });
  const control = useRef<AbortController | null>(null);
  useEffect(() => () => control.current?.abort(), []);
  const start = (requests: number, atOnce: number, headers: Headers["pairs"]) => {
    const { signal } = (control.current = new AbortController());
    let shown = 0;
    const show = (tally: Tally) => {
      const now = performance.now();
      if (now - shown < SHOWN_MS || signal.aborted) return;
      shown = now;
      setRun({ state: "running", requests, tally: { ...tally } });
    };
    setRun({ state: "running", requests, tally: emptyTally() });
    void sendMany(requests, atOnce, () => askProduct(headers, signal), show, signal).then((tally) => {
      setRun({ state: signal.aborted ? "cancelled" : "done", requests, tally });
      finished();
    });
  };
  return [run, start, () => control.current?.abort()];
}

function Results({ run }: { run: Run }) {
  const { tally, requests, state } = run;
  const percent = requests ? Math.floor((tally.done / requests) * 100) : 0;
  return (
    <div className="results" data-testid="results" data-state={state}>
      <div
        className="progress"
        role="progressbar"
        aria-label="Requests that are done"
        aria-valuenow={percent}
        aria-valuemin={0}
        aria-valuemax={100}
      >
        <div className="progress-bar" style={{ "--share": `${percent}%` } as CSSProperties} />
      </div>
      <p className="many-state" role="status">
        {state === "idle" && <span className="quiet">What comes of them is counted here.</span>}
        {state === "running" && <span className="quiet">Sending {requests} requests…</span>}
        {state === "done" && summary(tally)}
        {state === "cancelled" && `Cancelled. ${summary(tally)}`}
      </p>
      {tally.done > 0 && (
        <div className="many-results">
          <Ratings tally={tally} />
          <Versions tally={tally} />
        </div>
      )}
    </div>
  );
}

function Ratings({ tally }: { tally: Tally }) {
  const rated = shares(tally.ratings, tally.done).sort((a, b) => b.key - a.key);
  const failed = shares(tally.failures, tally.done);
  return (
    <div>
      <h3>Ratings</h3>
      <ul className="shares" data-testid="ratings">
        {rated.map((share) => (
          <Bar key={share.key} name={`${share.key} ${share.key === 1 ? "star" : "stars"}`} share={share} />
        ))}
        {failed.map((share) => (
          <Bar key={share.key} name={share.key} share={share} failed />
        ))}
      </ul>
      {tally.milliseconds.length > 0 && (
        <p className="hint">
          Median {inWords(percentile(tally.milliseconds, 50))}, 99th percentile{" "}
          {inWords(percentile(tally.milliseconds, 99))}
        </p>
      )}
    </div>
  );
}

function Bar({ name, share, failed = false }: { name: string; share: Share<unknown>; failed?: boolean }) {
  return (
    <li className={failed ? "share-row failed-share" : "share-row"}>
      <span className="share-name">{name}</span>
      <span className="share-number">
        {percentInWords(share.percent)} <span className="quiet">({share.requests})</span>
      </span>
      <span className="share-ground" aria-hidden="true">
        <span className="share-bar" style={{ "--share": `${share.percent}%` } as CSSProperties} />
      </span>
    </li>
  );
}

function Versions({ tally }: { tally: Tally }) {
  if (tally.versions.size === 0) return null;
  return (
    <div>
      <h3>Versions by service</h3>
      <ul className="shares" data-testid="versions">
        {[...tally.versions].map(([service, versions]) => (
          <li key={service} className="share-row">
            <span className="share-name">{service}</span>
            <span className="share-number">
              {ordered(versions)
                .map(([version, requests]) => `${version || "?"} ${percentInWords((requests / tally.done) * 100)}`)
                .join(" · ")}
            </span>
            <span className="share-ground" aria-hidden="true">
              {ordered(versions).map(([version, requests], index) => (
                <span
                  key={version}
                  className={`share-bar version-${index % 4}`}
                  style={{ "--share": `${(requests / tally.done) * 100}%` } as CSSProperties}
                />
              ))}
            </span>
          </li>
        ))}
      </ul>
    </div>
  );
}

function ordered(versions: ReadonlyMap<string, number>): Array<[string, number]> {
  return [...versions].sort(([a], [b]) => (a < b ? -1 : 1));
}
