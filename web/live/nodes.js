// Nodes by the names that the Python side has for them.
import { app } from "../../../scripts/app.js";

/** Names a node of a workflow. */
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
