// What a run or a report said last, under its node. The frontend shows it too while a prompt runs, but newer
// ones take it away when the prompt is over.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { findNode, keyOf } from "./live/nodes.js";

const EVENT = "scaling_cache.text";
const WIDGET = "scaling_cache_text";
// The frontend's own.
const PREVIEW = "$$node-text-preview";
const LINE = 15;
const MOST_LINES = 14;
// About so many pixels a letter is wide, and so many are left free at the sides.
const LETTER = 6;
const SIDES = 40;
// Texts that are remembered, for nodes that are made anew by undo or by coming back to a workflow.
const MOST_TEXTS = 200;

// By workflow and execution id, the newest last.
const texts = new Map();

/** A message of the Python side. */
function receive({ workflow, node, text }) {
  const of = workflow ?? app.graph.id;
  texts.delete(keyOf(of, node));
  texts.set(keyOf(of, node), { workflow: of, id: node, text });
  if (texts.size > MOST_TEXTS) texts.delete(texts.keys().next().value);
}

/** Put the texts of the open graph under their nodes. */
function show() {
  for (const { workflow, id, text } of texts.values()) {
    const node = workflow === app.graph.id ? findNode(id) : null;
    if (!node?.addDOMWidget) continue;
    remove(node, PREVIEW);
    const shown = widgetOf(node, WIDGET) ?? add(node);
    if (shown.element.textContent === text) continue;
    shown.element.textContent = text;
    node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
    node.setDirtyCanvas?.(true, true);
  }
}

/** Make room for what the frontend shows while a prompt runs. */
function hide() {
  for (const { id } of texts.values()) remove(findNode(id), WIDGET);
}

function add(node) {
  const element = Object.assign(document.createElement("div"), { className: "sc-text" });
  const height = () => {
    const fits = Math.max((node.size[0] - SIDES) / LETTER, 1);
    const lines = element.textContent.split("\n").map((line) => Math.ceil(line.length / fits) || 1);
    return LINE * Math.min(lines.reduce((sum, count) => sum + count, 0), MOST_LINES) + 6;
  };
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

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

function remove(node, name) {
  const widget = node && widgetOf(node, name);
  if (widget) node.removeWidget(widget);
}

app.registerExtension({
  name: "ScalingCache.Summary",
  setup() {
    api.addEventListener(EVENT, ({ detail }) => receive(detail));
    api.addEventListener("execution_start", hide);
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
      api.addEventListener(end, show);
    }
  },
  afterConfigureGraph: show,
});
