import { useCallback, useEffect, useMemo, useState } from "react";
import { Switch } from "./arco";
import { headersOf, type Row } from "./model/headers";
import { withLanes } from "./model/lanes";
import { BookCard } from "./parts/BookCard";
import { GraphCard } from "./parts/GraphCard";
import { ManyCard } from "./parts/ManyCard";
import { Mark } from "./parts/Mark";
import { RequestCard } from "./parts/RequestCard";
import { WayCard } from "./parts/WayCard";
import { useRequest } from "./request";
import { useTheme } from "./theme";

export function App() {
  const [dark, setDark] = useTheme();
  const [uid, setUid] = useState("");
  const [rows, setRows] = useState<Row[]>([{ key: 1, name: "", value: "" }]);
  const [withRows, setWithRows] = useState(false);
  const [asked, ask] = useRequest();
  const [lanes, setLanes] = useState<readonly string[]>([]);
  const [sent, setSent] = useState(0);
  const headers = useMemo(() => headersOf(uid, rows, withRows), [uid, rows, withRows]);
  const seen = useCallback((found: Iterable<string | null>) => setLanes((known) => withLanes(known, found)), []);

  const { way } = asked;
  const trace = "trace" in way ? way.trace : null;
  useEffect(() => {
    if (trace) seen(trace.hops.map((hop) => hop.lane));
  }, [trace, seen]);
  const complete = way.state === "whole";
  useEffect(() => {
    if (complete) setSent((before) => before + 1);
  }, [complete, trace]);
  useEffect(() => ask([]), [ask]);

  const again = () => ask(headers.pairs);
  return (
    <>
      <a className="skip" href="#book">
        Skip to the book
      </a>
      <header className="top">
        <div className="top-inner">
          <Mark />
          <span className="top-name">Bookinfo</span>
          <label className="top-theme">
            <span>Dark</span>
            <Switch checked={dark} onChange={setDark} aria-label="Dark" size="small" />
          </label>
        </div>
      </header>
      <main className="page">
        <h1 className="unseen">Bookinfo: a book, and the way that requests take to its stars</h1>
        <div className="column">
          <BookCard asked={asked} again={again} />
          <RequestCard
            uid={uid}
            setUid={setUid}
            rows={rows}
            setRows={setRows}
            withRows={withRows}
            setWithRows={setWithRows}
            headers={headers}
            busy={asked.busy}
            send={again}
          />
        </div>
        <div className="column">
          <WayCard asked={asked} lanes={lanes} />
        </div>
        <GraphCard lanes={lanes} seen={seen} changed={sent} />
        <ManyCard headers={headers} finished={() => setSent((before) => before + 1)} />
      </main>
      <footer className="bottom">Served by the mesh it shows. Traces are kept for 30 minutes.</footer>
    </>
  );
}
