import { defineConfig } from "vite";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: { target: "es2022", modulePreload: false, reportCompressedSize: false },
  server: {
    // `npm run dev` beside `s3delta serve` (or `npm run mock`).
    proxy: {
      "/v1": process.env.S3DELTA_URL ?? "http://127.0.0.1:8080",
      "/openapi.json": process.env.S3DELTA_URL ?? "http://127.0.0.1:8080",
    },
  },
});
