// Shows the inputs that a node's settings use (`uses`), and offers only what goes together (`offers`).
import { app } from "./live/host.js";
import { say } from "./live/language.js";
import { after, widgetOf } from "./live/nodes.js";
import { hideRows, hiding } from "./live/rows.js";

const WIDTH = 360;
const SPACING = 4;
// What is offered in a list follows from another input.
const LISTS = { granularity: "method", predictor: "granularity" };

const linked = (node, name) =>
  node.inputs?.some((input) => input.widget?.name === name && input.link != null);

/** Say a hint behind an input's name; in Nodes 2.0 rules do so. */
function hinted(widget, hint) {
  let name = (widget.called ??= widget.label ?? widget.name);
  widget.hint = hint;
  Object.defineProperty(widget, "label", {
    get: () => (hint && !LiteGraph.vueNodesMode ? `${name} (${hint})` : name),
    set: (given) => (name = widget.called = given ?? widget.name),
    configurable: true,
  });
}

// Some frontends keep the place of what is hidden.
function yields(node, widget) {
  if (widget.computeSize || widget.computeLayoutSize) return;
  const gone = () => widget.hidden || (widget.advanced && !node.showAdvanced);
  widget.computeSize = (width = 0) => [width, gone() ? -SPACING : LiteGraph.NODE_WIDGET_HEIGHT];
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
      hinted(widgetOf(node, other), known(hints) ? say(hints[value]) : "");
    }
  }
  hideRows();
  if (resize) node.setSize([node.size[0], node.size[1] + node.computeSize()[1] - before]);
  node.setDirtyCanvas?.(true, true);
}

/** Offer what goes together. A value that does not stays, for the host to refuse. */
function offer(widget, { options, tooltip }, [fitting, refused], open) {
  // In place: Nodes 2.0 holds on to the list.
  widget.options.values.splice(0, Infinity, ...(open ? options : fitting));
  widget.tooltip = say(`${tooltip}\n${open ? "" : refused}`.trim());
}

/** Bring the lists of a node in line with its method. */
function update(node, told) {
  const valueOf = (name) => widgetOf(node, name).value;
  // A workflow may hold anything as a value, the name of something that all objects have too.
  const at = (table, key) => (Object.hasOwn(table, key) ? table[key] : null);
  const table = at(told.method.offers, valueOf("method"));
  if (!table) return;
  const fitting = { ...table, predictor: at(table, valueOf("granularity")) ?? table.auto };
  // What comes over a link is not known yet, so anything may go with it.
  let open = false;
  for (const [name, decider] of Object.entries(LISTS)) {
    open ||= linked(node, decider);
    offer(widgetOf(node, name), told[name], fitting[name], open);
  }
  // Nodes 2.0 reads the lists again when a slot changes.
  node.graph?.trigger("node:slot-links:changed", { nodeId: node.id, slotType: LiteGraph.INPUT });
}

/** After a choice, what no longer goes with it becomes the method's own way. */
function settle(node, told) {
  update(node, told);
  for (const name of Object.keys(LISTS)) {
    const widget = widgetOf(node, name);
    if (widget.options.values.includes(widget.value)) continue;
    widget.value = "auto";
    widget.callback("auto");
    update(node, told);
  }
}

app.registerExtension({
  name: "ScalingCache.Settings",
  setup: () => app.canvas.canvas.addEventListener("litegraph:set-graph", hideRows),
  nodeCreated(node) {
    if (!/^Scaling[A-Z]/.test(node.comfyClass)) return;
    const { required, optional } = node.constructor.nodeData?.input ?? {};
    const specs = Object.entries({ ...required, ...optional });
    const told = Object.fromEntries(specs.map(([name, spec]) => [name, spec[1] ?? {}]));
    for (const widget of node.widgets ?? []) {
      // Some frontends set the flag in the options alone, and show it on the canvas.
      if (told[widget.name]?.scaling_cache_folds) widget.advanced = true;
      yields(node, widget);
    }
    const deciders = Object.entries(told).filter(([name, { uses }]) => uses && widgetOf(node, name));
    const combined = told.method?.offers;
    if (combined) {
      for (const [name, decider] of Object.entries(LISTS)) {
        // The frontend gives all nodes of a kind the same list.
        const { options } = widgetOf(node, name);
        options.values = [...options.values];
        after(widgetOf(node, decider), "callback", () => settle(node, told));
      }
    }
    const bring = () => {
      if (combined) update(node, told);
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
