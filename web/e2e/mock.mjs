// A stand-in for `s3delta serve` while the page is developed: invented data in the API's form, and the built page.
// `npm run build && npm run mock [-- --port 8099 --empty]`. Not used by CI, which tests against the real server.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const DIST = new URL("../dist/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const VIEWS = /^\/(structures|jobs|searches|adapters|try|tasks|transfers)(\/|$)/;

let state = 7;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
const digest = () => Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16)).join("");
const time = (minutesAgo) => new Date(Date.now() - minutesAgo * 60_000).toISOString();

const SHAPE = { family: "t5", encoder_layers: 4, decoder_layers: 4, d_model: 256, d_kv: 64, num_heads: 4, d_ff: 512, gated: true, vocab_size: 8064 };
const LARGE = { family: "t5", encoder_layers: 24, decoder_layers: 24, d_model: 1024, d_kv: 64, num_heads: 16, d_ff: 4096, gated: false, vocab_size: 32100 };
const BACKBONE = digest();

function mix(shape) {
  const { d_model: d, d_ff: f } = shape;
  const inner = shape.num_heads * shape.d_kv;
  const first = [];
  const last = [];
  const add = (to, module, parameters) => to.push({ module, parameters });
  const linear = (position, input, output) => {
    add(first, { position, kind: "lora", rank: 1, alpha: 16 }, input + output);
    add(first, { position, kind: "bitfit" }, output);
  };
  const norm = (position) => {
    add(first, { position, kind: "lnfit" }, d);
    add(first, { position, kind: "bitfit" }, d);
  };
  const k = Math.max(1, d / 32);
  for (const [stack, layers] of [["encoder", shape.encoder_layers], ["decoder", shape.decoder_layers]]) {
    for (let block = 0; block < layers; block++) {
      const at = `${stack}.block.${block}.layer`;
      const end = stack === "decoder" ? 2 : 1;
      for (const name of "qkvo") linear(`${at}.0.SelfAttention.${name}`, name === "o" ? inner : d, name === "o" ? d : inner);
      norm(`${at}.0.layer_norm`);
      if (stack === "decoder") norm(`${at}.1.layer_norm`);
      for (const name of shape.gated ? ["wi_0", "wi_1"] : ["wi"]) linear(`${at}.${end}.DenseReluDense.${name}`, d, f);
      linear(`${at}.${end}.DenseReluDense.wo`, f, d);
      norm(`${at}.${end}.layer_norm`);
      for (const position of [`${at}.0.SelfAttention`, `${at}.${end}.DenseReluDense`]) {
        add(last, { position, kind: "low_rank_adapter", rank: 1, bottleneck: k }, 2 * (d + k) + k + d);
      }
    }
    norm(`${stack}.final_layer_norm`);
  }
  return [...first, ...last];
}

/** p as a search leaves it: mostly low, high on late decoder norms and some q. */
function probabilities(space) {
  return space.map(({ module }) => {
    const decoder = module.position.startsWith("decoder") ? 1 : 0;
    const norm = /norm/.test(module.position) ? 1 : 0;
    const q = /\.q$/.test(module.position) && module.kind === "lora" ? 1 : 0;
    const logit = -4.2 + decoder * 1.4 + norm * 2 + q * 1.3 + (random() + random() + random() - 1.5) * 4;
    return 1 / (1 + Math.exp(-logit));
  });
}

function greedy(space, p, budget) {
  const chosen = space.map(() => false);
  let left = budget;
  for (const index of p.map((_, at) => at).sort((a, b) => p[b] - p[a] || a - b)) {
    if (space[index].parameters > left) continue;
    chosen[index] = true;
    left -= space[index].parameters;
  }
  return chosen;
}

function structure(shape, task, share, minutes, job) {
  const space = mix(shape);
  const p = probabilities(space);
  const budget = Math.round(space.reduce((sum, one) => sum + one.parameters, 0) * share);
  const chosen = greedy(space, p, budget);
  return {
    format: "s3delta.structure/1",
    id: digest(),
    shape,
    modules: space.filter((_, index) => chosen[index]).map((one) => one.module),
    provenance: [
      {
        origin: "search",
        created: time(minutes),
        source_task: task,
        task_digest: digest(),
        backbone_digest: BACKBONE,
        job,
        seeds: [0],
        settings: { order: "first", selection: "greedy", steps: 400, batch_size: 16, learning_rate: 0.0003 },
        space: "mix",
        budget,
        probabilities: space.map((one, index) => ({ ...one, p: p[index] })),
      },
    ],
  };
}

const job = (kind, jobState, minutes, request, more = {}) => ({
  id: `0197${Math.floor(Date.now() / 1000 - minutes * 60).toString(16)}${digest().slice(0, 16)}`,
  kind,
  state: jobState,
  request,
  progress: null,
  result: null,
  error: null,
  created: time(minutes),
  started: jobState === "queued" ? null : time(minutes - 0.1),
  finished: ["running", "queued"].includes(jobState) ? null : time(minutes - 3.4),
  ...more,
});

function data() {
  const tasks = [
    ["builtin-sentiment", "sentiment: {text}", ["negative", "positive"], "accuracy", true],
    ["builtin-topic", "topic: {text}", ["farming", "music", "space", "trade"], "accuracy", true],
    ["builtin-entailment", "entailment premise: {premise} hypothesis: {hypothesis}", ["contradiction", "entailment", "neutral"], "accuracy", true],
    ["builtin-similarity", "similarity sentence1: {sentence1} sentence2: {sentence2}", null, "pearson", true],
    ["sst2", "sst2 sentence: {sentence}", ["negative", "positive"], "accuracy", false],
  ].map(([name, template, words, metric, builtin]) => ({
    name,
    digest: digest(),
    definition: {
      name,
      description: builtin ? "Made by the project's own seeded grammar." : "Stanford Sentiment Treebank, from GLUE.",
      template,
      metric,
      target: words
        ? { kind: "classification", labels: words.map((word, index) => ({ value: String(index), word })) }
        : { kind: "regression", minimum: 0, maximum: 5, step: 0.2 },
    },
    rows: builtin ? { train: 2000, dev: 300, test: 600 } : { train: 67349, dev: 436, test: 436 },
    builtin,
    created: time(300),
  }));
  const jobs = [
    job("search", "running", 1, { task: "builtin-topic", space: "mix", budget: "5.447%", order: "first", selection: "exact", seeds: [0], epochs: 5, retrain: true }),
    job("retrain", "queued", 1, { structure: "bitfit", task: "builtin-topic" }),
    job("search", "failed", 50, { task: "sst2", space: "mix", budget: "12", order: "first" }, { error: { code: "budget_too_small", message: "the budget 12 allows 12 parameters, fewer than the smallest module of `mix` needs: lnfit at `encoder.block.0.layer.0.layer_norm` has 256; give at least 256, or a share of the space such as 5.447%" } }),
  ];
  const structures = [
    structure(SHAPE, "builtin-sentiment", 0.05447, 12, digest()),
    structure(SHAPE, "builtin-sentiment", 0.01365, 90, digest()),
    structure(SHAPE, "builtin-topic", 0.05447, 60, digest()),
    structure(LARGE, "sst2", 0.05447, 600, digest()),
  ];
  const bitfit = {
    ...structures[0],
    id: digest(),
    modules: mix(SHAPE).map((one) => one.module).filter((module) => module.kind === "bitfit"),
    provenance: [{ origin: "manual", created: time(30) }],
  };
  structures.push(bitfit);
  const done = job("search", "succeeded", 16, { task: "builtin-sentiment", space: "mix", budget: "5.447%", order: "first", selection: "exact", seeds: [0], epochs: 5, retrain: true }, {
    result: { structures: [structures[0].id], structure: structures[0].id, parameters: 6144, adapter: "builtin-sentiment", generation: digest(), score: { metric: "accuracy", value: 0.887, split: "test" }, search_seconds: 92.4, retrain_seconds: 31.2 },
  });
  jobs.splice(2, 0, done);
  const generation = (from, task, value, minutes) => ({
    digest: digest(), structure: from.id, weights: digest(), weights_bytes: 25_000, backbone_digest: BACKBONE,
    task: { name: task, digest: digest() }, score: { metric: "accuracy", value, split: "test" }, parameters: parametersOf(from),
    created: time(minutes), job: done.id, allow_backbone_mismatch: false,
  });
  const adapter = (name, task, generations) => ({ name, created: generations[0].created, aliases: { latest: generations.at(-1).digest, ...(generations.length > 1 && { production: generations[0].digest }) }, generations });
  const adapters = [
    adapter("builtin-sentiment", "builtin-sentiment", [generation(structures[1], "builtin-sentiment", 0.861, 80), generation(structures[0], "builtin-sentiment", 0.887, 11)]),
    adapter("builtin-sentiment-bitfit", "builtin-sentiment", [generation(bitfit, "builtin-sentiment", 0.842, 28)]),
    adapter("builtin-topic-from-builtin-sentiment", "builtin-topic", [generation(structures[0], "builtin-topic", 0.913, 8)]),
    adapter("builtin-entailment", "builtin-entailment", [generation(structures[2], "builtin-entailment", 0.671, 5)]),
  ];
  const transfer = (source, target, mean, std) => ({ source_task: source, source_structure: structures[0].id, target_task: target, seeds: [0, 1, 2], score_mean: mean, score_std: std, metric: "accuracy", parameters: 6144, adapter: `${target}-from-${source}`, job: done.id, created: time(5) });
  const transfers = [
    transfer("builtin-sentiment", "builtin-topic", 0.913, 0.004),
    transfer("builtin-sentiment", "builtin-entailment", 0.652, 0.011),
    transfer("builtin-topic", "builtin-sentiment", 0.879, 0.006),
    transfer("builtin-topic", "builtin-entailment", 0.668, 0.008),
  ];
  return { tasks, jobs, structures, adapters, transfers };
}

const sizeOf = new Map([SHAPE, LARGE].flatMap((shape) => mix(shape).map((one) => [`${shape.d_model} ${one.module.position} ${one.module.kind}`, one.parameters])));
const parametersOf = (one) => one.modules.reduce((sum, module) => sum + sizeOf.get(`${one.shape.d_model} ${module.position} ${module.kind}`), 0);

function summary(one) {
  const by_kind = {};
  for (const module of one.modules) {
    by_kind[module.kind] ??= { modules: 0, parameters: 0 };
    by_kind[module.kind].modules++;
    by_kind[module.kind].parameters += sizeOf.get(`${one.shape.d_model} ${module.position} ${module.kind}`);
  }
  const [from] = one.provenance;
  return {
    id: one.id, shape: one.shape, modules: one.modules.length, parameters: parametersOf(one), by_kind,
    source_tasks: from.source_task ? [from.source_task] : [], spaces: from.space ? [from.space] : [], budget: from.budget ?? null,
    created: from.created, origin: from.origin,
  };
}

/** p = σ(α − ζ) with ζ such that Σ p · size is the budget. */
function within(space, alpha, budget) {
  let [low, high] = [-20, 20];
  const at = (zeta) => alpha.map((one) => 1 / (1 + Math.exp(zeta - one)));
  for (let turn = 0; turn < 50; turn++) {
    const zeta = (low + high) / 2;
    const used = at(zeta).reduce((sum, p, index) => sum + p * space[index].parameters, 0);
    if (used > budget) low = zeta;
    else high = zeta;
  }
  return at(high);
}

/** A search that goes on while it is watched. */
function* search(total) {
  const space = mix(SHAPE);
  const goal = probabilities(space).map((p) => Math.log(p / (1 - p)));
  const budget = Math.round(space.reduce((sum, one) => sum + one.parameters, 0) * 0.05447);
  let dev = null;
  for (let step = 1; step <= total; step++) {
    const part = step / total;
    if (step % 20 === 0) dev = 0.5 + 0.4 * part + (random() - 0.5) * 0.04;
    yield {
      phase: "search", seed: 0, step, total_steps: total,
      loss_delta: 0.9 * Math.exp(-2 * part) + 0.15 + (random() - 0.5) * 0.1,
      loss_alpha: 0.9 * Math.exp(-1.7 * part) + 0.2 + (random() - 0.5) * 0.12,
      expected_parameters: budget - random() * 0.5, budget, zeta: 2.85 + part * 1.4, dev_score: dev, metric: "accuracy",
      seconds: step * 0.4, eta_seconds: (total - step) * 0.4,
      probabilities: within(space, goal.map((logit) => (logit + 2.85) * part), budget),
      modules: space.map(({ module }) => ({ position: module.position, kind: module.kind })),
    };
  }
}

export function start({ port = 0, empty = false } = {}) {
  const all = empty ? { tasks: data().tasks, jobs: [], structures: [], adapters: [], transfers: [] } : data();
  const runs = new Map();
  const watch = new Set();
  const timer = setInterval(() => {
    for (const one of all.jobs.filter((found) => found.kind === "search" && found.state === "running")) {
      if (!runs.has(one.id)) runs.set(one.id, search(400));
      const { value, done } = runs.get(one.id).next();
      if (done) {
        Object.assign(one, { state: "succeeded", finished: time(0), result: { structures: [all.structures[0].id], structure: all.structures[0].id, parameters: 6144, adapter: "builtin-sentiment", score: { metric: "accuracy", value: 0.9, split: "test" }, search_seconds: 92 } });
        tell(one.id, "state", one);
      } else {
        one.progress = value;
        const { modules: _, ...told } = value;
        tell(one.id, "progress", told);
      }
    }
  }, 100);
  const tell = (id, event, body) => {
    for (const one of watch) {
      if (one.id !== id) continue;
      one.reply.write(`event: ${event}\ndata: ${JSON.stringify(body)}\n\n`);
      if (event === "state" && body.finished) one.reply.end();
    }
  };

  const routes = [
    ["GET", /^\/v1\/backbone$/, () => ({ name: "builtin:pocket-t5", shape: SHAPE, parameters: 7_612_416, digest: BACKBONE, device: "cpu" })],
    ["GET", /^\/v1\/structures$/, (_, { query }) => page(all.structures.filter((one) => !query.get("source_task") || one.provenance[0].source_task === query.get("source_task")).map(summary))],
    ["POST", /^\/v1\/structures$/, (_, { body }) => [201, all.structures[all.structures.push({ ...body, id: digest() }) - 1]]],
    ["GET", /^\/v1\/structures\/(.+)$/, ([id]) => find(all.structures, "id", id, "structure")],
    ["GET", /^\/v1\/adapters$/, () => page(all.adapters)],
    ["GET", /^\/v1\/adapters\/([^/]+)$/, ([name]) => find(all.adapters, "name", name, "adapter")],
    ["GET", /^\/v1\/tasks$/, () => page(all.tasks)],
    ["GET", /^\/v1\/tasks\/(.+)$/, ([name]) => find(all.tasks, "name", name, "task")],
    ["GET", /^\/v1\/transfers$/, () => page(all.transfers)],
    ["GET", /^\/v1\/jobs$/, (_, { query }) => page(all.jobs.filter((one) => ["state", "kind"].every((name) => !query.get(name) || one[name] === query.get(name))))],
    ["GET", /^\/v1\/jobs\/([^/]+)$/, ([id]) => find(all.jobs, "id", id, "job")],
    ["POST", /^\/v1\/jobs\/([^/]+)\/cancel$/, ([id]) => change(id, { state: "cancelled", finished: time(0) })],
    ["POST", /^\/v1\/jobs\/([^/]+)\/resume$/, ([id]) => change(id, { state: "running", finished: null, error: null })],
    ["POST", /^\/v1\/searches$/, (_, { body }) => (/^[\d.e-]+%?$/.test(body.budget) ? [202, all.jobs[all.jobs.unshift(job("search", "running", 0.2, body)) * 0]] : refuse(422, "budget_invalid", `budget \`${body.budget}\` is not 102458 (parameters), 1.389e-4 (of the backbone) or 5.447% (of the space)`))],
    ["POST", /^\/v1\/predictions$/, (_, { body }) => predict(body)],
  ];
  const page = (found) => ({ data: found, next_cursor: null });
  const refuse = (status, code, message) => [status, { error: { code, message, type: "invalid_request_error", param: null, request_id: digest() } }];
  const find = (list, field, value, noun) => list.find((one) => one[field] === value) ?? refuse(404, `${noun}_not_found`, `no ${noun} \`${value}\`: list them with \`s3delta ${noun}s list\``);
  const change = (id, to) => {
    const one = all.jobs.find((found) => found.id === id);
    Object.assign(one, to);
    tell(id, "state", one);
    return one;
  };
  const predict = ({ adapters, inputs }) => ({
    data: adapters.map((name) => {
      const adapter = all.adapters.find((one) => one.name === name);
      const task = all.tasks.find((one) => one.name === adapter.generations.at(-1).task.name);
      const words = task.definition.target.labels.map((label) => label.word);
      const predictions = inputs.map((input) => {
        const text = Object.values(input).join(" ");
        const raw = words.map((word, index) => Math.exp(3 * Math.sin(text.length * (index + 1)) + word.length / 9));
        const sum = raw.reduce((a, b) => a + b);
        const scores = Object.fromEntries(words.map((word, index) => [word, raw[index] / sum]));
        return { label: words[raw.indexOf(Math.max(...raw))], scores };
      });
      return { adapter: name, adapter_generation: adapter.generations.at(-1).digest, task: task.name, predictions };
    }),
  });

  const server = createServer(async (request, reply) => {
    const url = new URL(request.url, "http://mock");
    const json = (status, body) => reply.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    let text = "";
    for await (const piece of request) text += piece;
    const body = text ? JSON.parse(text) : null;
    const events = /^\/v1\/jobs\/([^/]+)\/events$/.exec(url.pathname);
    if (events) {
      const one = all.jobs.find((found) => found.id === events[1]);
      reply.writeHead(200, { "content-type": "text/event-stream" });
      reply.write(`event: state\ndata: ${JSON.stringify(one)}\n\n`);
      if (one.finished) return reply.end();
      const watcher = { id: one.id, reply };
      watch.add(watcher);
      return request.on("close", () => watch.delete(watcher));
    }
    if (url.pathname === "/v1/completions") {
      reply.writeHead(200, { "content-type": "text/event-stream" });
      for (const piece of ["posi", "tive"]) {
        reply.write(`data: ${JSON.stringify({ id: "c", object: "text_completion", created: 0, model: body.model, choices: [{ index: 0, text: piece, finish_reason: null }] })}\n\n`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      return reply.end("data: [DONE]\n\n");
    }
    for (const [method, pattern, answer] of routes) {
      const match = method === request.method && pattern.exec(url.pathname);
      if (!match) continue;
      const found = answer(match.slice(1).map(decodeURIComponent), { query: url.searchParams, body });
      return Array.isArray(found) ? json(...found) : json(200, found);
    }
    const file = url.pathname === "/" || VIEWS.test(url.pathname) ? "index.html" : url.pathname.slice(1);
    try {
      const content = await readFile(new URL(file, DIST));
      reply.writeHead(200, { "content-type": TYPES[file.split(".").pop()] ?? "text/plain", "content-security-policy": POLICY }).end(content);
    } catch {
      json(404, { error: { code: "not_found", message: `no route ${request.method} ${url.pathname}` } });
    }
  });
  return new Promise((resolve) =>
    server.listen(port, "127.0.0.1", () => {
      const stop = () => {
        clearInterval(timer);
        server.closeAllConnections();
        server.close();
      };
      resolve({ url: `http://127.0.0.1:${server.address().port}`, stop });
    }),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const at = process.argv.indexOf("--port");
  const { url } = await start({ port: at > 0 ? Number(process.argv[at + 1]) : 8099, empty: process.argv.includes("--empty") });
  console.log(url);
}
