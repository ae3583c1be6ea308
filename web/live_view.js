// The live view on the cache nodes: a timeline of the run, fed by messages of the pack's Python side.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { bar } from "./live/bar.js";
import { addRow, caches, fit, keyOf, linesOf, make, nodeOf, remember, wanted, widgetOf } from "./live/nodes.js";
import { caption, merge } from "./live/run.js";
import { Timeline } from "./live/timeline.js";
import { after, hideRows } from "./settings.js";

const WIDGET = "scaling_cache_live";
// Space that the canvas leaves around the view.
const MARGIN = 6;
const MODES = { 2: "muted", 4: "bypassed" };
const LOOK = 500;

/** Views of the nodes that are on the canvas, and what they show. */
class LiveViews {
  // By workflow and execution id: the node's last run, null if the node has been switched off since.
  #nodes = new Map();
  #views = new Map();
  // Prompt that is under way, null between prompts; the last one that began.
  #prompt = null;
  #last = null;
  // Node of the run that is told of now.
  #told = null;

  /** A message of the Python side. Those of other prompts than the one under way are too late. */
  receive(message) {
    if (this.#prompt !== null && message.prompt_id !== this.#prompt) return;
    // A prompt of a program names no workflow: it is taken for the one that is open.
    const workflow = message.workflow ?? app.graph.id;
    const key = keyOf(workflow, message.node);
    const run = message.state === "off" ? null : merge(this.#nodes.get(key)?.run ?? null, message);
    remember(this.#nodes, workflow, message.node, { run });
    this.#told = key;
    this.refresh();
  }

  /** A prompt starts: what the views showed is not of this one. */
  begin(prompt) {
    this.#prompt = this.#last = prompt;
    this.#told = null;
    this.refresh();
  }

  /** A prompt is over: a node that did not sample in it shows its last run again. */
  end() {
    this.#prompt = null;
    this.refresh();
  }

  /** Make the views of the graph that is open show what they should. */
  refresh() {
    const shown = new Set();
    const idle = this.#prompt === null;
    for (const known of wanted.view ? this.#nodes.values() : []) {
      const { run } = known;
      const node = nodeOf(known);
      if (!caches(node) || (idle && !run)) continue;
      shown.add(node);
      const own = idle || run?.prompt === this.#prompt || MODES[node.mode];
      const old = this.#last !== null && run?.prompt !== this.#last;
      this.#show(node, own ? run : null, MODES[node.mode] ?? (own && old ? "earlier run" : ""));
    }
    for (const node of this.#views.keys()) if (!shown.has(node)) this.#hide(node);
  }

  /** Say in a line what cannot be read on the node. */
  watch() {
    const { run, ...where } = this.#nodes.get(this.#told) ?? {};
    const node = run ? nodeOf(where) : null;
    const said = node && wanted.view && !this.#views.get(node)?.seen ? caption(run) : null;
    bar.show(said && [node.title, said.text, said.speedup].filter(Boolean).join(" \u00b7 "), node);
  }

  #show(node, run, stale) {
    const view = this.#views.get(node) ?? this.#add(node);
    const before = view.height;
    view.show(run, stale, (text) => linesOf(text, node));
    if (view.height !== before) fit(node);
  }

  #add(node) {
    const view = new Timeline();
    addRow(node, WIDGET, view.element, () => view.height + 2 * MARGIN, { margin: MARGIN });
    this.#views.set(node, view);
    hideRows();
    after(node, "onRemoved", () => {
      view.leave();
      this.#views.delete(node);
    });
    view.element.addEventListener("wheel", forward);
    view.element.addEventListener("pointerdown", (event) => event.button && forward(event));
    node.setDirtyCanvas?.(true, true);
    return view;
  }

  #hide(node) {
    const view = this.#views.get(node);
    this.#views.delete(node);
    view.leave();
    const widget = widgetOf(node, WIDGET);
    if (!widget) return;
    const height = node.size[1] - view.height - 2 * MARGIN;
    node.removeWidget(widget);
    hideRows();
    fit(node, height);
  }
}

/** Let the canvas zoom and pan where the view lies over it; the Vue nodes do so on their own. */
function forward(event) {
  if (!event.currentTarget.closest(".dom-widget")) return;
  event.preventDefault();
  event.stopPropagation();
  app.canvas.canvas.dispatchEvent(new event.constructor(event.type, event));
}

const views = new LiveViews();

app.registerExtension({
  name: "ScalingCache.LiveView",
  settings: [
    {
      id: "ScalingCache.LiveView",
      category: ["Scaling Cache", "Nodes", "Live view"],
      name: "Live view on the cache nodes",
      tooltip: "A timeline of the steps under each cache node: computed, predicted, and why.",
      type: "boolean",
      defaultValue: true,
      onChange: (value) => {
        wanted.view = value;
        views.refresh();
      },
    },
  ],
  setup() {
    const href = new URL("./live/timeline.css", import.meta.url).href;
    document.head.append(make("link", "", { rel: "stylesheet", href }));
    api.addEventListener("scaling_cache.run", ({ detail }) => views.receive(detail));
    api.addEventListener("execution_start", ({ detail }) => views.begin(detail.prompt_id));
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
      api.addEventListener(end, () => views.end());
    }
    // A node that is bypassed, or folded, or scrolled away.
    api.addEventListener("graphChanged", () => views.refresh());
    setInterval(() => views.watch(), LOOK);
  },
  afterConfigureGraph() {
    views.refresh();
  },
});
