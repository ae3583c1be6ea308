// A line in the window for a run whose node cannot be read; it leads to the node.
import { app } from "./host.js";
import { make } from "./nodes.js";

const element = make("button", "sc-bar", { hidden: "" });
let shown = null;

export function showBar(text, node) {
  shown = node;
  element.hidden = !text;
  if (text && element.textContent !== text) element.textContent = text;
}

element.onclick = () => {
  const node = shown;
  if (node.flags.collapsed) node.collapse();
  if (node.graph !== app.canvas.graph) app.canvas.setGraph(node.graph);
  app.canvas.ds.scale = 1;
  app.canvas.centerOnNode(node);
  app.canvas.selectNode?.(node);
  app.canvas.setDirty(true, true);
};
document.body.append(element);
