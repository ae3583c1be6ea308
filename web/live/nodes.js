// Nodes by the names that the Python side has for them, and what is known of them.
import { app } from "../../../scripts/app.js";

export function keyOf(workflow, node) {
  return `${workflow} ${node}`;
}

/** Node of an execution id: "5:3" is node 3 in the subgraph of node 5. */
export function findNode(id) {
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
  const lines = text.split("\n").map((line) => Math.ceil(line.length / fits) || 1);
  return lines.reduce((sum, count) => sum + count, 0);
}

/** Whether the user wants the live view; without it nodes show texts. */
export const wanted = { view: true };
