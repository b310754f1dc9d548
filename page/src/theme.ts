/** Light or dark: as the system has it, until somebody says otherwise. */

import { useEffect, useState } from "react";

const KEPT = "meltemi-theme";
const DARK = "(prefers-color-scheme: dark)";

type Choice = "light" | "dark";

function kept(): Choice | null {
  try {
    const found = localStorage.getItem(KEPT);
    return found === "light" || found === "dark" ? found : null;
  } catch {
    return null; // a browser that keeps nothing
  }
}

function keep(choice: Choice): void {
  try {
    localStorage.setItem(KEPT, choice);
  } catch {
    // chosen for this visit only
  }
}

/** Whether the page is dark, and how to say otherwise. */
export function useTheme(): [boolean, (dark: boolean) => void] {
  const [choice, setChoice] = useState(kept);
  const [system, setSystem] = useState(() => matchMedia(DARK).matches);
  useEffect(() => {
    const query = matchMedia(DARK);
    const changed = () => setSystem(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  const dark = choice === null ? system : choice === "dark";
  useEffect(() => {
    if (dark) document.body.setAttribute("arco-theme", "dark");
    else document.body.removeAttribute("arco-theme");
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  }, [dark]);
  const choose = (wanted: boolean) => {
    const next = wanted ? "dark" : "light";
    keep(next);
    setChoice(next);
  };
  return [dark, choose];
}
