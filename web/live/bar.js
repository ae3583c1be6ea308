// A line in the window for a run whose node cannot be read; it leads to the node.
import { app } from "../../../scripts/app.js";
import { make } from "./nodes.js";

class Bar {
  #element = make("button", "sc-bar", { hidden: "" });
  #node = null;

  constructor() {
    this.#element.addEventListener("click", () => this.#go());
    document.body.append(this.#element);
  }

  show(text, node) {
    this.#node = node;
    this.#element.hidden = !text;
    if (text && this.#element.textContent !== text) this.#element.textContent = text;
  }

  #go() {
    const node = this.#node;
    if (node.flags.collapsed) node.collapse();
    if (node.graph !== app.canvas.graph) app.canvas.setGraph(node.graph);
    app.canvas.ds.scale = 1;
    app.canvas.centerOnNode(node);
    app.canvas.selectNode?.(node);
    app.canvas.setDirty(true, true);
  }
}

export const bar = new Bar();
