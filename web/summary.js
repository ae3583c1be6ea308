// What a node said last, under it: a report, a calibration, and a cache where there is no live view.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { caches, findNode, keyOf, linesOf, wanted } from "./live/nodes.js";

const EVENT = "scaling_cache.text";
const WIDGET = "scaling_cache_text";
const LINE = 15;
const MOST_LINES = 14;
// Remembered for nodes that are made anew by undo or by coming back to a workflow.
const MOST_TEXTS = 200;

// By workflow and execution id, the newest last.
const texts = new Map();

/** A message of the Python side. */
function receive({ workflow, node, text }) {
  const of = workflow ?? app.graph.id;
  texts.delete(keyOf(of, node));
  texts.set(keyOf(of, node), { workflow: of, id: node, text, fresh: true });
  if (texts.size > MOST_TEXTS) texts.delete(texts.keys().next().value);
  show();
}

function age() {
  for (const said of texts.values()) said.fresh = false;
  show();
}

/** Put the texts of the open graph under their nodes. */
function show() {
  for (const { workflow, id, text, fresh } of texts.values()) {
    const node = workflow === app.graph.id ? findNode(id) : null;
    if (!node?.addDOMWidget) continue;
    if (wanted.view && caches(node)) {
      remove(node);
      continue;
    }
    const { element } = widgetOf(node) ?? add(node);
    element.classList.toggle("sc-live-stale", !fresh);
    if (element.textContent === text) continue;
    element.textContent = text;
    node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
    node.setDirtyCanvas?.(true, true);
  }
}

function add(node) {
  const element = Object.assign(document.createElement("div"), { className: "sc-text" });
  element.setAttribute("role", "status");
  const height = () => LINE * Math.min(linesOf(element.textContent, node), MOST_LINES) + 6;
  const options = {
    serialize: false,
    getValue: () => element.textContent,
    getMinHeight: height,
    getMaxHeight: height,
  };
  const widget = node.addDOMWidget(WIDGET, WIDGET, element, options);
  widget.serialize = false;
  return widget;
}

const widgetOf = (node) => node.widgets?.find((widget) => widget.name === WIDGET);

function remove(node) {
  const widget = widgetOf(node);
  if (widget) node.removeWidget(widget);
}

app.registerExtension({
  name: "ScalingCache.Summary",
  setup() {
    api.addEventListener(EVENT, ({ detail }) => receive(detail));
    api.addEventListener("execution_start", age);
  },
  afterConfigureGraph: show,
});
