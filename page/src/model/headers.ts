/** The headers of a request, from what was typed. */

export interface Row {
  key: number;
  name: string;
  value: string;
}

export interface Headers {
  pairs: Array<[string, string]>;
  /** What is wrong with a row, by its key. */
  problems: Map<number, string>;
  /** What is wrong with the uid. */
  uidProblem: string | null;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/; // RFC 9110, section 5.6.2
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/; // what a browser sends in one

/** Names that a browser does not let a page set (Fetch, "forbidden request-header"). */
const FORBIDDEN = new Set(
  (
    "accept-charset accept-encoding access-control-request-headers access-control-request-method " +
    "connection content-length cookie cookie2 date dnt expect host keep-alive origin referer " +
    "set-cookie te trailer transfer-encoding upgrade via"
  ).split(" "),
);

/** Rows count only where they are switched on; an empty row and an empty uid are nothing. */
export function headersOf(uid: string, rows: readonly Row[], withRows: boolean): Headers {
  const pairs: Array<[string, string]> = [];
  const problems = new Map<number, string>();
  const uidProblem = VALUE.test(uid.trim()) ? null : "A header cannot hold these characters";
  if (uid.trim() && !uidProblem) pairs.push(["uid", uid.trim()]);
  for (const row of withRows ? rows : []) {
    const [name, value] = [row.name.trim(), row.value.trim()];
    if (!name && !value) continue;
    const problem = problemOf(name, value);
    if (problem) problems.set(row.key, problem);
    else pairs.push([name, value]);
  }
  return { pairs, problems, uidProblem };
}

function problemOf(name: string, value: string): string | null {
  if (!name) return "A header needs a name";
  if (!TOKEN.test(name)) return "A name has letters, digits and - only";
  const lower = name.toLowerCase();
  if (FORBIDDEN.has(lower) || /^(proxy|sec)-/.test(lower)) return "Browsers do not send this one";
  if (!VALUE.test(value)) return "A header cannot hold these characters";
  return null;
}
