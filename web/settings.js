// Shows the inputs that a node's settings use (`uses`), and offers only what goes together (`offers`).
import { app } from "../../scripts/app.js";
import { widgetOf } from "./live/nodes.js";

const WIDTH = 360;
const SPACING = 4;
const LISTS = ["granularity", "predictor"];

const linked = (node, name) =>
  node.inputs?.some((input) => input.widget?.name === name && input.link != null);

// Nodes 2.0 reads what is hidden only when it makes a node, so rules hide rows. It draws all of them, or all
// but the advanced ones: their number tells which.
const sheet = document.head.appendChild(document.createElement("style"));
const hiding = new Set();

function rulesOf(node) {
  const rows = node.widgets.filter((widget) => !widget.options?.canvasOnly);
  return [rows, rows.filter((widget) => !widget.advanced)].flatMap((drawn) =>
    drawn.flatMap(({ hidden, hint }, index) => {
      const grid = `[data-node-id="${node.id}"] .lg-node-widgets:has(>:nth-child(${drawn.length}):last-child)`;
      const row = `${grid}>:nth-child(${index + 1})`;
      if (hidden) return [`${row}{display:none!important}`];
      return hint ? [`${row}::after{content:${JSON.stringify(hint)};font-size:10px;align-self:center}`] : [];
    }),
  );
}

/** Say a hint behind an input's name. Nodes 2.0 keeps the name that it began with: there rules say it. */
function hinted(widget, hint) {
  let name = (widget.called ??= widget.label ?? widget.name);
  widget.hint = hint;
  Object.defineProperty(widget, "label", {
    get: () => (hint && !LiteGraph.vueNodesMode ? `${name} (${hint})` : name),
    set: (given) => (name = widget.called = given ?? widget.name),
    configurable: true,
  });
}

/** To be called when a node gets or loses a row. */
export function hideRows() {
  const open = [...hiding].filter((node) => node.graph === app.canvas?.graph);
  sheet.textContent = open.flatMap(rulesOf).join("\n");
}

// Some frontends keep the place of what is hidden.
function yields(node, widget) {
  if (widget.computeSize || widget.computeLayoutSize) return;
  const gone = () => widget.hidden || (widget.advanced && !node.showAdvanced);
  widget.computeSize = (width) => [
    width ?? 0,
    gone() ? -SPACING : window.LiteGraph.NODE_WIDGET_HEIGHT,
  ];
}

/** What comes over a link is not known, so it may use anything. */
function hide(node, deciders, resize) {
  const before = node.computeSize()[1];
  for (const [name, { uses, recommended = {} }] of deciders) {
    const shared = new Set(Object.values(uses).flat());
    const value = String(widgetOf(node, name).value);
    const known = (table) => !linked(node, name) && Object.hasOwn(table, value);
    const used = known(uses) ? new Set(uses[value]) : shared;
    for (const widget of node.widgets.filter((one) => shared.has(one.name))) {
      widget.hidden = !used.has(widget.name) && !linked(node, widget.name);
    }
    for (const [other, hints] of Object.entries(recommended)) {
      hinted(widgetOf(node, other), known(hints) ? hints[value] : "");
    }
  }
  hideRows();
  if (resize) node.setSize([node.size[0], node.size[1] + node.computeSize()[1] - before]);
  node.setDirtyCanvas?.(true, true);
}

/** Offer the choices without a reason against them. A value that is not among them stays, for the host to
 *  refuse. */
function offer(widget, told, reasons, open) {
  const offered = [];
  const why = new Map();
  for (const [value, refusal] of Object.entries(reasons)) {
    const [reason] = refusal.replace(`'${value}'`, "it").split(/[;,] (?:so|with) /);
    if (open || !reason) offered.push(value);
    else why.set(reason, [...(why.get(reason) ?? []), value]);
  }
  // In place: Nodes 2.0 holds on to the list.
  widget.options.values.splice(0, Infinity, ...offered);
  const lines = [...why].map(([reason, names]) => `Not ${names.join(", ")}: ${reason}.`);
  widget.tooltip = [told, ...lines].join("\n");
}

/** Bring the lists of a node in line with its method. */
function update(node, specs) {
  const valueOf = (name) => widgetOf(node, name).value;
  // A workflow may hold anything as a value, the name of something that all objects have too.
  const at = (table, key) => (Object.hasOwn(table, key) ? table[key] : null);
  const table = at(specs.method[1].offers, valueOf("method"));
  if (!table) return;
  const give = (name, reasons) => offer(widgetOf(node, name), specs[name][1].tooltip, reasons, open);
  // What comes over a link is not known yet, so anything may go with it.
  let open = linked(node, "method");
  give("granularity", Object.fromEntries(Object.keys(table).map((level) => [level, table[level].auto])));
  open ||= linked(node, "granularity");
  give("predictor", at(table, valueOf("granularity")) ?? table.auto);
  // Nodes 2.0 reads the lists again when a slot changes.
  node.graph?.trigger("node:slot-links:changed", { nodeId: node.id, slotType: LiteGraph.INPUT });
}

/** After a choice, what no longer goes with it becomes the method's own way. */
function settle(node, specs) {
  update(node, specs);
  for (const name of LISTS) {
    const widget = widgetOf(node, name);
    if (widget.options.values.includes(widget.value)) continue;
    widget.value = "auto";
    widget.callback("auto");
    update(node, specs);
  }
}

/** Call a function after a method of an object. */
export function after(object, name, then) {
  const before = object[name];
  object[name] = function (...args) {
    const result = before?.apply(this, args);
    then();
    return result;
  };
}

app.registerExtension({
  name: "ScalingCache.Settings",
  setup: () => app.canvas.canvas.addEventListener("litegraph:set-graph", hideRows),
  nodeCreated(node) {
    if (!/^Scaling[A-Z]/.test(node.comfyClass)) return;
    const { required, optional } = node.constructor.nodeData?.input ?? {};
    const specs = { ...required, ...optional };
    for (const widget of node.widgets ?? []) {
      // Some frontends set the flag only in the widget's options.
      widget.advanced ||= !!specs[widget.name]?.[1]?.scaling_cache_folds;
      yields(node, widget);
    }
    const told = Object.entries(specs).map(([name, spec]) => [name, spec[1] ?? {}]);
    const deciders = told.filter(([name, { uses }]) => uses && widgetOf(node, name));
    const combined = !!specs.method?.[1]?.offers;
    if (combined) {
      for (const name of LISTS) {
        // The frontend gives all nodes of a kind the same list.
        const { options } = widgetOf(node, name);
        options.values = [...options.values];
      }
      for (const name of ["method", "granularity"]) {
        after(widgetOf(node, name), "callback", () => settle(node, specs));
      }
    }
    const bring = () => {
      if (combined) update(node, specs);
      if (deciders.length) hide(node, deciders);
    };
    for (const [name] of deciders) after(widgetOf(node, name), "callback", () => hide(node, deciders, true));
    for (const event of ["onConfigure", "onConnectionsChange", "onAdded"]) after(node, event, bring);
    if (deciders.length) hiding.add(node);
    after(node, "onRemoved", () => hiding.delete(node));
    bring();
    node.setSize([Math.max(node.size[0], WIDTH), node.computeSize()[1]]);
  },
});
