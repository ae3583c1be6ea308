// What a node said last, under it: a report with its pictures, or the text of a run.
import { compare } from "./live/compare.js";
import { api, app } from "./live/host.js";
import { say } from "./live/language.js";
import { caches, make, nodeOf, remember, wanted, widgetOf } from "./live/nodes.js";
import { addRow, dropRow, fit, linesOf } from "./live/rows.js";

const WIDGET = "scaling_cache_text";
const LINE = 15;
const MOST_LINES = 14;
// Of the pictures, whatever the node's width.
const HIGHEST = 480;
const MARGIN = 6;
const known = new Map();

/** A message of the Python side. */
function receive({ workflow, node, ...said }) {
  remember(known, workflow ?? app.graph.id, node, { ...said, fresh: true });
  show();
}

function age() {
  for (const said of known.values()) said.fresh = false;
  show();
}

/** Put what is known under the nodes of the open graph. */
function show() {
  for (const said of known.values()) {
    const node = nodeOf(said);
    if (!node?.addDOMWidget) continue;
    if (wanted.view && caches(node)) {
      dropRow(node, WIDGET);
      continue;
    }
    const { text, pictures, fresh } = said;
    const element = widgetOf(node, WIDGET)?.element ?? add(node);
    element.classList.toggle("sc-live-stale", !fresh);
    const [words, old] = element.children;
    if (words.textContent !== say(text)) words.textContent = say(text);
    if (old?.pictures !== pictures) {
      old?.remove();
      if (pictures?.length) element.append(compare(pictures, () => fit(node)));
    }
    fit(node);
  }
}

function add(node) {
  const words = make("div", "sc-text", { role: "status" });
  const element = make("div", "sc-said");
  element.append(words);
  const height = () => {
    const lines = Math.min(linesOf(words.textContent, node), MOST_LINES);
    const ratio = words.nextSibling?.style.getPropertyValue("--sc-ratio");
    return LINE * lines + 3 * MARGIN + (ratio ? Math.min(node.size[0] / ratio, HIGHEST) : 0);
  };
  addRow(node, WIDGET, element, height, { margin: MARGIN, getValue: () => words.textContent });
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
