// Rows under a node's inputs, and of inputs that are hidden.
import { app } from "./host.js";
import { make, widgetOf } from "./nodes.js";

/** Put an element on a node, neither saved nor sent. */
export function addRow(node, name, element, height, more) {
  const options = { serialize: false, getMinHeight: height, getMaxHeight: height, ...more };
  const row = node.addDOMWidget(name, name, element, options);
  row.serialize = false;
  // Side panels would set it.
  Object.defineProperty(row, "width", { set() {} });
  for (const type of ["wheel", "pointerdown"]) element.addEventListener(type, forward);
  hideRows();
}

/** Take it away; the node gets lower. */
export function dropRow(node, name) {
  const row = widgetOf(node, name);
  if (!row) return;
  const height = node.size[1] - row.options.getMinHeight();
  node.removeWidget(row);
  hideRows();
  fit(node, height);
}

/** Make a node as high as its rows need, at least as given. */
export function fit(node, least = node.size[1]) {
  node.setSize([node.size[0], Math.max(least, node.computeSize()[1])]);
  node.setDirtyCanvas?.(true, true);
}

/** Lines of a text on a node. */
export function linesOf(text, node) {
  const fits = Math.max((node.size[0] - 40) / 6, 1);
  return text.split("\n").reduce((sum, line) => sum + (Math.ceil(line.length / fits) || 1), 0);
}

/** Let the canvas zoom and pan under a row; Vue nodes do so on their own. */
function forward(event) {
  const { currentTarget, target, type, button } = event;
  const own = type === "wheel" ? target.matches(".sc-text") : !button;
  if (own || !currentTarget.closest(".dom-widget")) return;
  event.preventDefault();
  event.stopPropagation();
  app.canvas.canvas.dispatchEvent(new event.constructor(type, event));
}

// Nodes 2.0 reads what is hidden only when it makes a node, so rules hide rows. Older ones draw all, or all
// but the advanced ones: their number tells which. Newer ones name them.
const sheet = document.head.appendChild(make("style", ""));

/** Nodes that hide rows. */
export const hiding = new Set();

function rulesOf(node) {
  const rows = node.widgets.filter((widget) => !widget.options?.canvasOnly);
  const rule = (row, { hidden, hint }) => {
    const at = `[data-node-id="${node.id}"] ${row}`;
    if (hidden) return `${at}{display:none!important}`;
    return hint && `${at}::after{content:${JSON.stringify(hint)};font-size:10px;align-self:center;grid-column:2/-1}`;
  };
  const named = (row) => rule(`[data-widget-name="${row.name}"]`, row);
  const placed = [rows, rows.filter((row) => !row.advanced)].flatMap((drawn) => {
    const all = `.lg-node-widgets:not(:has([data-widget-name])):has(>:nth-child(${drawn.length}):last-child)`;
    return drawn.map((row, index) => rule(`${all}>:nth-child(${index + 1})`, row));
  });
  return [...placed, ...rows.map(named)];
}

/** To be called when what is hidden has changed. */
export function hideRows() {
  const open = [...hiding].filter((node) => node.graph === app.canvas?.graph);
  sheet.textContent = open.flatMap(rulesOf).filter(Boolean).join("\n");
}
