// The live view on the cache nodes, fed by messages of the Python side.
import { showBar } from "./live/bar.js";
import { api, app } from "./live/host.js";
import { say } from "./live/language.js";
import { after, caches, keyOf, make, nodeOf, remember, wanted } from "./live/nodes.js";
import { addRow, dropRow, fit, linesOf } from "./live/rows.js";
import { merge } from "./live/run.js";
import { Timeline } from "./live/timeline.js";

const WIDGET = "scaling_cache_live";
// Space that the canvas leaves around the view.
const MARGIN = 6;
const MODES = { 2: "muted", 4: "bypassed" };
const LOOK = 500;

// By workflow and execution id: a node's last run, null if the node has been switched off since.
const runs = new Map();
// Views of the nodes that are on the canvas.
const views = new Map();
// Prompt that is under way, null between prompts; the last one that began.
let prompt = null;
let last = null;
// Node of the run that is told of now.
let told = null;
// What views say that wait.
let waits;

/** A message of the Python side. Those of other prompts than the one under way are too late. */
function receive(message) {
  if (prompt !== null && message.prompt_id !== prompt) return;
  // A prompt of a program names no workflow: it is taken for the one that is open.
  const workflow = message.workflow ?? app.graph.id;
  told = keyOf(workflow, message.node);
  const off = message.state === "off";
  waits = (off && message.caption) || "waiting";
  const run = off ? null : merge(runs.get(told)?.run ?? null, message);
  remember(runs, workflow, message.node, { run });
  refresh();
}

/** A prompt starts: what the views showed is not of this one. */
function begin(started) {
  prompt = last = started;
  told = null;
  waits = "waiting";
  refresh();
}

/** A prompt is over: a node that did not sample in it shows its last run again. */
function end() {
  prompt = null;
  refresh();
}

/** Make the views of the graph that is open show what they should. */
function refresh() {
  const shown = new Set();
  const idle = prompt === null;
  for (const known of wanted.view ? runs.values() : []) {
    const { run } = known;
    const node = nodeOf(known);
    if (!caches(node) || !run) continue;
    shown.add(node);
    const own = idle || run.prompt === prompt || MODES[node.mode];
    const old = last !== null && run.prompt !== last;
    show(node, own ? run : merge(null, { state: "waiting", caption: waits }), MODES[node.mode] ?? (own && old ? "earlier run" : ""));
  }
  for (const node of views.keys()) if (!shown.has(node)) hide(node);
}

/** Say in a line what cannot be read on the node. */
function watch() {
  const { run, ...where } = runs.get(told) ?? {};
  const node = run ? nodeOf(where) : null;
  if (!node || !wanted.view || views.get(node)?.seen) return showBar("");
  showBar([node.title, say(run.caption), say(run.speed)].filter(Boolean).join(" \u00b7 "), node);
}

function show(node, run, stale) {
  const view = views.get(node) ?? add(node);
  const before = view.height;
  view.show(run, stale, (text) => linesOf(text, node));
  if (view.height !== before) fit(node);
}

function add(node) {
  const view = new Timeline();
  addRow(node, WIDGET, view.element, () => view.height + 2 * MARGIN, { margin: MARGIN });
  views.set(node, view);
  after(node, "onRemoved", () => {
    view.leave();
    views.delete(node);
  });
  node.setDirtyCanvas?.(true, true);
  return view;
}

function hide(node) {
  views.get(node).leave();
  views.delete(node);
  dropRow(node, WIDGET);
}

app.registerExtension({
  name: "ScalingCache.LiveView",
  settings: [
    {
      id: "ScalingCache.LiveView",
      category: ["Scaling Cache", say("Nodes"), say("Live view")],
      name: say("Live view on the cache nodes"),
      tooltip: say("A timeline of the steps under each cache node: computed, predicted, and why."),
      type: "boolean",
      defaultValue: true,
      onChange: (value) => {
        wanted.view = value;
        refresh();
      },
    },
  ],
  setup() {
    const href = new URL("./live/timeline.css", import.meta.url).href;
    document.head.append(make("link", "", { rel: "stylesheet", href }));
    api.addEventListener("scaling_cache.run", ({ detail }) => receive(detail));
    api.addEventListener("execution_start", ({ detail }) => begin(detail.prompt_id));
    for (const over of ["success", "error", "interrupted"]) api.addEventListener(`execution_${over}`, end);
    // A node that is bypassed, or folded, or scrolled away.
    api.addEventListener("graphChanged", refresh);
    setInterval(watch, LOOK);
  },
  afterConfigureGraph: () => refresh(),
});
