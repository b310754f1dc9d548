import { describe, expect, it } from "vitest";
import { headersOf } from "../src/model/headers";

const rows = (...pairs: Array<[string, string]>) => pairs.map(([name, value], key) => ({ key, name, value }));

describe("headers", () => {
  it("sends the uid as it is, and none where there is none", () => {
    expect(headersOf(" 100 ", [], false).pairs).toEqual([["uid", "100"]]);
    expect(headersOf("  ", [], false).pairs).toEqual([]);
  });

  it("sends further headers only where they are switched on", () => {
    const more = rows(["baggage", "env=dev"], ["", ""]);
    expect(headersOf("1", more, false).pairs).toEqual([["uid", "1"]]);
    expect(headersOf("1", more, true).pairs).toEqual([["uid", "1"], ["baggage", "env=dev"]]);
  });

  it.each([
    [["", "x"], /needs a name/],
    [["a b", "x"], /letters, digits/],
    [["Cookie", "x"], /Browsers do not/],
    [["Sec-Fetch-Site", "x"], /Browsers do not/],
    [["proxy-authorization", "x"], /Browsers do not/],
    [["a", "日"], /cannot hold/],
    [["a", "x\ny"], /cannot hold/],
  ] as Array<[[string, string], RegExp]>)("says what is wrong with %j", (row, problem) => {
    const found = headersOf("", rows(row), true);
    expect(found.pairs).toEqual([]);
    expect(found.problems.get(0)).toMatch(problem);
  });

  it("says what is wrong with a uid", () => {
    expect(headersOf("日", [], false).uidProblem).toMatch(/cannot hold/);
  });
});
