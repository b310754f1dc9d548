import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/** Writes the licences of every package whose code is in the build: they ask to be shipped with it. */
function licences(): Plugin {
  return {
    name: "licences",
    generateBundle() {
      const folders = new Set<string>();
      for (const id of this.getModuleIds()) {
        const inside = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id.replace(/^\0/, ""));
        if (inside?.[1] && existsSync(join(inside[1], "package.json"))) folders.add(inside[1]);
      }
      const texts = [...folders].sort().map(licence);
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join("\n\n") });
    },
  };
}

function licence(folder: string): string {
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const name = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
  const text = name ? readFileSync(join(folder, name), "utf8").trim() : `Licence: ${about.license}`;
  return `${about.name} ${about.version} (${about.license})\n\n${text}\n`;
}

export default defineConfig({
  root: dirname(new URL(import.meta.url).pathname),
  plugins: [react(), licences()],
  build: {
    outDir: "../python/meltemi/page/dist",
    emptyOutDir: true,
    sourcemap: false,
    assetsInlineLimit: 0, // a data: URL would need a wider policy
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 600,
  },
  server: { proxy: { "/api": process.env.MELTEMI_PAGE_API ?? "http://127.0.0.1:8080" } },
});
