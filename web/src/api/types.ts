// The schemas that the page uses, under the page's names; api.d.ts is generated.

import type { components } from "../api";

type Schemas = components["schemas"];

/** As the server sends it: what an upload may leave out is there. */
export type Structure = Schemas["Structure"] & { id: string; provenance: Provenance[] };
export type StructureSummary = Schemas["StructureSummary"];
export type Provenance = Schemas["Provenance"];
export type DeltaModule = Schemas["DeltaModule"];
export type Adapter = Schemas["Adapter"];
export type Generation = Schemas["Generation"];
export type Task = Schemas["Task"];
export type Job = Schemas["Job"];
export type Progress = Schemas["Progress"];
export type Transfer = Schemas["Transfer"];
export type Backbone = Schemas["Backbone"];
export type PredictionResponse = Schemas["PredictionResponse"];
export type Completion = Schemas["Completion"];

export interface Page<T> {
  data: T[];
  next_cursor?: string | null;
}
