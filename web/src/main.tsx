import { render } from "preact";
import type { Backbone } from "./api/types";
import { count } from "./format";
import { useLoad } from "./hooks";
import { takeLinks, useLocation } from "./router";
import { SECTIONS, view } from "./routes";
import "./style.css";

function App() {
  const { path } = useLocation();
  const { data: backbone } = useLoad<Backbone>("/v1/backbone");
  const here = path.split("/")[1] || "structures";
  return (
    <div onClick={takeLinks}>
      <a class="skip" href="#main">
        Skip to content
      </a>
      <header>
        <a class="brand" href="/">
          s3delta
        </a>
        <nav aria-label="Views">
          {SECTIONS.map(([section, label]) => (
            <a key={section} href={`/${section}`} aria-current={here === section ? "page" : undefined}>
              {label}
            </a>
          ))}
        </nav>
        {backbone && (
          <span class="backbone quiet" title={`weights ${backbone.digest}`}>
            {backbone.name} · {count(backbone.parameters)} parameters · {backbone.device} ·{" "}
            {backbone.weights}
          </span>
        )}
      </header>
      <main id="main" tabIndex={-1}>
        {view(path)}
      </main>
    </div>
  );
}

render(<App />, document.getElementById("app")!);
