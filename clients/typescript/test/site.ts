import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

const root = new URL("..", import.meta.url);

/** serveSite serves a page that runs a script of build, what that imports, and an empty page at any other path. It returns the page's URL. */
export async function serveSite(script: string): Promise<{ url: string; site: Server }> {
  const page = `<!DOCTYPE html><meta charset="utf-8"><title>Rollcall</title>
<script type="importmap">{"imports": {"@rollcall/client/browser": "/dist/browser.js"}}</script>
<script type="module" src="/build/${script}"></script>`;
  const site = createServer((request, response) => {
    const path = request.url ?? "";
    const isScript = /^\/(dist|build)\/[a-z]+\.js$/.test(path);
    response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html");
    if (isScript) {
      response.setHeader("Cache-Control", "max-age=3600"); // each frame of a run needs the same scripts
    }
    response.end(isScript ? readFileSync(new URL(`.${path}`, root)) : path === "/" ? page : "<!DOCTYPE html>");
  });
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  return { url: `http://127.0.0.1:${(site.address() as AddressInfo).port}/`, site };
}
