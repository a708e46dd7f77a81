// Addresses of the views. The server answers each first segment with this page: VIEWS in src/api/assets.rs.

import type { ComponentChildren } from "preact";
import { AdapterPage, AdaptersPage, TryPage } from "./pages/adapters";
import { JobPage } from "./pages/job";
import { JobsPage } from "./pages/jobs";
import { NewSearchPage } from "./pages/newsearch";
import { StructurePage } from "./pages/structure";
import { StructuresPage } from "./pages/structures";
import { TaskPage, TasksPage } from "./pages/tasks";
import { TransfersPage } from "./pages/transfers";

/** The navigation, in order. */
export const SECTIONS = [
  ["structures", "Structures"],
  ["jobs", "Jobs"],
  ["adapters", "Adapters"],
  ["try", "Try"],
  ["tasks", "Tasks"],
  ["transfers", "Transfers"],
] as const;

export function view(path: string): ComponentChildren {
  const [section = "", id = ""] = path.split("/").slice(1).map(decodeURIComponent);
  switch (section) {
    case "":
    case "structures":
      return id ? <StructurePage key={id} id={id} /> : <StructuresPage />;
    case "jobs":
      return id ? <JobPage key={id} id={id} /> : <JobsPage />;
    case "searches":
      return <NewSearchPage />;
    case "adapters":
      return id ? <AdapterPage key={id} name={id} /> : <AdaptersPage />;
    case "try":
      return <TryPage />;
    case "tasks":
      return id ? <TaskPage key={id} name={id} /> : <TasksPage />;
    case "transfers":
      return <TransfersPage />;
    default:
      return (
        <>
          <h1>No such page</h1>
          <p>
            There is nothing at <code>{path}</code>. <a href="/structures">All structures</a>
          </p>
        </>
      );
  }
}
