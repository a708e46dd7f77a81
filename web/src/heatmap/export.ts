// Files of the figure and of its data.

import { DARK, LIGHT } from "./colours";
import type { HeatmapModule } from "./Heatmap";

export function save(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The figure as a file of its own, on the page's background. */
export function svgText(svg: SVGSVGElement, dark: boolean): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  copy.querySelectorAll("[data-transient]").forEach((node) => node.remove());
  for (const name of ["tabindex", "aria-activedescendant", "class", "style"]) copy.removeAttribute(name);
  const margin = 16;
  const [width, height] = [svg.width.baseVal.value + 2 * margin, svg.height.baseVal.value + 2 * margin];
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", String(width));
  copy.setAttribute("height", String(height));
  copy.setAttribute("viewBox", `${-margin} ${-margin} ${width} ${height}`);
  const back = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const place = { x: -margin, y: -margin, width, height, fill: (dark ? DARK : LIGHT).surface };
  for (const [name, value] of Object.entries(place)) back.setAttribute(name, String(value));
  copy.prepend(back);
  return new XMLSerializer().serializeToString(copy);
}

export const svgBlob = (text: string): Blob => new Blob([text], { type: "image/svg+xml" });

/** The same figure in pixels, two to a CSS pixel. */
export async function pngBlob(text: string): Promise<Blob> {
  const url = URL.createObjectURL(svgBlob(text));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth * 2;
    canvas.height = image.naturalHeight * 2;
    canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) =>
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the figure is too large for a PNG: export SVG")))),
    );
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** One line a module of the space, in canonical order. */
export function csv(
  modules: readonly HeatmapModule[],
  p: readonly (number | null)[],
  sizes: readonly number[] | null,
  chosen: readonly boolean[],
): string {
  const lines = modules.map(({ position, kind, rank, alpha, bottleneck }, index) =>
    [position, kind, rank, alpha, bottleneck, sizes?.[index], p[index], chosen[index]].map((value) => value ?? "").join(","),
  );
  return ["position,kind,rank,alpha,bottleneck,parameters,p,chosen", ...lines, ""].join("\n");
}
