import { type FormEvent, useId } from "react";
import { Button, Card, IconDelete, IconPlus, Input, Switch } from "../arco";
import type { Headers, Row } from "../model/headers";

interface Properties {
  uid: string;
  setUid: (uid: string) => void;
  rows: Row[];
  setRows: (rows: Row[]) => void;
  withRows: boolean;
  setWithRows: (withRows: boolean) => void;
  headers: Headers;
  busy: boolean;
  send: () => void;
}

export function RequestCard(properties: Properties) {
  const { uid, setUid, withRows, setWithRows, headers, busy, send } = properties;
  const uidId = useId();
  const wrong = headers.uidProblem !== null || headers.problems.size > 0;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!wrong) send();
  };
  return (
    <section aria-labelledby="request-title">
      <Card className="card" bordered={false} title={<h2 id="request-title">Request</h2>}>
        <form onSubmit={submit} noValidate>
          <label className="field-label" htmlFor={uidId}>
            uid
          </label>
          <div className="uid-row">
            <Input
              id={uidId}
              value={uid}
              onChange={setUid}
              placeholder="none"
              autoComplete="off"
              spellCheck={false}
              status={headers.uidProblem ? "error" : undefined}
              aria-invalid={headers.uidProblem !== null}
              aria-describedby={`${uidId}-hint`}
            />
            <Button type="primary" htmlType="submit" disabled={wrong} aria-busy={busy}>
              Send
            </Button>
          </div>
          <p className="hint" id={`${uidId}-hint`}>
            {headers.uidProblem ?? "Sent as the header uid. The gateway colours 100: it enters lane dev."}
          </p>
          <label className="switch-row">
            <Switch checked={withRows} onChange={setWithRows} aria-label="More headers" size="small" />
            <span>More headers</span>
          </label>
          {withRows && <Rows {...properties} />}
        </form>
      </Card>
    </section>
  );
}

function Rows({ rows, setRows, headers }: Properties) {
  const change = (key: number, part: Partial<Row>) =>
    setRows(rows.map((row) => (row.key === key ? { ...row, ...part } : row)));
  const add = () => setRows([...rows, { key: Math.max(0, ...rows.map((row) => row.key)) + 1, name: "", value: "" }]);
  return (
    <fieldset className="headers">
      <legend className="unseen">More headers</legend>
      {rows.map((row, index) => {
        const problem = headers.problems.get(row.key);
        const problemId = `header-${row.key}-problem`;
        const told = { "aria-invalid": problem !== undefined, "aria-describedby": problem ? problemId : undefined };
        return (
          <div key={row.key}>
            <div className="header-row">
              <Input
                value={row.name}
                onChange={(name) => change(row.key, { name })}
                placeholder="name"
                aria-label={`Name of header ${index + 1}`}
                status={problem ? "error" : undefined}
                autoComplete="off"
                spellCheck={false}
                {...told}
              />
              <Input
                value={row.value}
                onChange={(value) => change(row.key, { value })}
                placeholder="value"
                aria-label={`Value of header ${index + 1}`}
                autoComplete="off"
                spellCheck={false}
                {...told}
              />
              <Button
                type="text"
                icon={<IconDelete />}
                aria-label={`Remove header ${index + 1}`}
                onClick={() => setRows(rows.filter((each) => each.key !== row.key))}
              />
            </div>
            {problem && (
              <p className="hint wrong" id={problemId}>
                {problem}
              </p>
            )}
          </div>
        );
      })}
      <Button type="text" icon={<IconPlus />} onClick={add} className="add">
        Add a header
      </Button>
    </fieldset>
  );
}
