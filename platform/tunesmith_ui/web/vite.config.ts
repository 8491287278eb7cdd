import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  // Addresses are relative: the studio works below any path that a proxy puts before it.
  base: "./",
  plugins: [react()],
  build: {
    outDir: "../built",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the policy knows files of this server only
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
    target: ["chrome123", "firefox128", "safari17.5"], // as they are: `light-dark()` is not rewritten
    cssTarget: ["chrome123", "firefox128", "safari17.5"],
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
