// Nodes by the names that the Python side has for them, and what is known of them.
import { app } from "./host.js";

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
export const caches = (node) =>
  !!node?.constructor.nodeData?.input?.required?.model?.[1]?.scaling_cache;

/** Call a function after a method of an object. */
export function after(object, name, then) {
  const before = object[name];
  object[name] = function (...args) {
    const result = before?.apply(this, args);
    then();
    return result;
  };
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
