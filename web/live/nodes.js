// Nodes by the names that the Python side has for them, and what is known of them.
import { app } from "../../../scripts/app.js";

// Kept for nodes that are made anew by undo or by coming back to a workflow.
const MOST = 200;

export const keyOf = (workflow, id) => `${workflow} ${id}`;

/** Keep what is known of a node, the newest last; the oldest goes where there is too much. */
export function remember(all, workflow, id, known) {
  all.delete(keyOf(workflow, id));
  all.set(keyOf(workflow, id), { workflow, id, ...known });
  if (all.size > MOST) all.delete(all.keys().next().value);
}

/** The node of what is remembered, if its workflow is open. */
export const nodeOf = ({ workflow, id }) => (workflow === app.graph?.id ? findNode(id) : null);

export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

/** Node of an execution id: "5:3" is node 3 in the subgraph of node 5. */
function findNode(id) {
  const path = id.split(":");
  const last = path.pop();
  let graph = app.rootGraph ?? app.graph;
  for (const part of path) graph = graph?.getNodeById(part)?.subgraph;
  return graph?.getNodeById(last) ?? null;
}

/** Whether a node puts a cache on its model, as it says itself. */
export function caches(node) {
  return !!node?.constructor.nodeData?.input?.required?.model?.[1]?.scaling_cache;
}

export function linesOf(text, node) {
  const fits = Math.max((node.size[0] - 40) / 6, 1);
  return text.split("\n").reduce((sum, line) => sum + (Math.ceil(line.length / fits) || 1), 0);
}

/** A row of a node that is neither saved nor sent. */
export function addRow(node, name, element, height, more = {}) {
  const options = { serialize: false, getMinHeight: height, getMaxHeight: height, ...more };
  node.addDOMWidget(name, name, element, options).serialize = false;
}

/** Make a node as high as its rows need, or as it should be at least. */
export function fit(node, least = node.size[1]) {
  node.setSize([node.size[0], Math.max(least, node.computeSize()[1])]);
  node.setDirtyCanvas?.(true, true);
}

export function make(tag, className, attributes = {}, textContent = "") {
  return give(Object.assign(document.createElement(tag), { className, textContent }), attributes);
}

export function give(element, attributes) {
  for (const entry of Object.entries(attributes)) element.setAttribute(...entry);
  return element;
}

/** Whether the user wants the live view; without it nodes show texts. */
export const wanted = { view: true };
