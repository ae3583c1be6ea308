// What a node said last, under it: a report, a calibration, and a cache where there is no live view.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addRow, caches, fit, linesOf, make, nodeOf, remember, wanted, widgetOf } from "./live/nodes.js";

const WIDGET = "scaling_cache_text";
const LINE = 15;
const MOST_LINES = 14;
const texts = new Map();

/** A message of the Python side. */
function receive({ workflow, node, text }) {
  remember(texts, workflow ?? app.graph.id, node, { text, fresh: true });
  show();
}

function age() {
  for (const said of texts.values()) said.fresh = false;
  show();
}

/** Put the texts of the open graph under their nodes. */
function show() {
  for (const said of texts.values()) {
    const { text, fresh } = said;
    const node = nodeOf(said);
    if (!node?.addDOMWidget) continue;
    const row = widgetOf(node, WIDGET);
    if (wanted.view && caches(node)) {
      if (row) node.removeWidget(row);
      continue;
    }
    const element = row?.element ?? add(node);
    element.classList.toggle("sc-live-stale", !fresh);
    if (element.textContent === text) continue;
    element.textContent = text;
    fit(node);
  }
}

function add(node) {
  const element = make("div", "sc-text", { role: "status" });
  const height = () => LINE * Math.min(linesOf(element.textContent, node), MOST_LINES) + 6;
  addRow(node, WIDGET, element, height, { getValue: () => element.textContent });
  return element;
}

app.registerExtension({
  name: "ScalingCache.Summary",
  setup() {
    api.addEventListener("scaling_cache.text", ({ detail }) => receive(detail));
    api.addEventListener("execution_start", age);
  },
  afterConfigureGraph: show,
});
