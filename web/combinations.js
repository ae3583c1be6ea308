// On Step Cache (Advanced): offers only what goes with the chosen method, says why the rest is not there,
// and greys out the inputs that the method does not use.
import { app } from "../../scripts/app.js";

const NODE = "ScalingStepCacheAdvanced";

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);
const linked = (node, name) =>
  node.inputs?.some((input) => input.widget?.name === name && input.link != null);

/** Offer the choices without a reason against them. Keeps a value that is not among them: the host names
 *  what is wrong with it. */
function offer(widget, reasons) {
  const values = Object.keys(reasons);
  const refused = values.filter((value) => reasons[value]);
  // In place: Nodes 2.0 holds on to the list.
  widget.options.values.splice(0, Infinity, ...values.filter((value) => !reasons[value]));
  widget.told ??= widget.tooltip ?? "";
  const lines = refused.map((value) => `${value}: ${reasons[value]}`);
  widget.tooltip = [widget.told, ...(lines.length ? ["Not offered:", ...lines] : [])].join("\n");
}

/** Bring the node in line with its method. */
function update(node, { offers, uses }) {
  const [method, granularity, predictor] = ["method", "granularity", "predictor"].map((name) => ({
    widget: widgetOf(node, name),
    open: linked(node, name),
  }));
  // A workflow may hold anything as a value, the name of something that all objects have too.
  if (!Object.hasOwn(offers, method.widget.value)) return;
  const table = offers[method.widget.value];
  // What comes over a link is not known yet, so anything may go with it.
  const anything = (names) => Object.fromEntries(names.map((name) => [name, ""]));
  const levels = Object.keys(table);
  const refusals = Object.fromEntries(levels.map((level) => [level, table[level].auto]));
  offer(granularity.widget, method.open ? anything(levels) : refusals);
  const chosen = granularity.widget.value;
  const reasons = Object.hasOwn(table, chosen) ? table[chosen] : table.auto;
  const unknown = method.open || granularity.open;
  offer(predictor.widget, unknown ? anything(Object.keys(reasons)) : reasons);
  const shared = new Set(Object.values(uses).flat());
  const used = method.open ? shared : new Set(uses[method.widget.value] ?? shared);
  for (const widget of node.widgets) {
    if (shared.has(widget.name)) widget.disabled = !used.has(widget.name);
  }
  // Nodes 2.0 reads the lists again when a slot changes.
  node.graph?.trigger("node:slot-links:changed", { nodeId: node.id, slotType: LiteGraph.INPUT });
}

/** After the user chose: what no longer goes with it becomes the method's own way. */
function settle(node, data) {
  update(node, data);
  for (const name of ["granularity", "predictor"]) {
    const widget = widgetOf(node, name);
    if (widget.options.values.includes(widget.value)) continue;
    widget.value = "auto";
    widget.callback("auto");
    update(node, data);
  }
}

/** Call a function after a method of an object. */
function after(object, name, then) {
  const before = object[name];
  object[name] = function (...args) {
    const result = before?.apply(this, args);
    then();
    return result;
  };
}

app.registerExtension({
  name: "ScalingCache.Combinations",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const data = node.constructor.nodeData?.input?.required?.method?.[1];
    if (!data?.offers) return;
    for (const name of ["granularity", "predictor"]) {
      // The frontend gives all nodes of a kind the same list.
      const { options } = widgetOf(node, name);
      options.values = [...options.values];
    }
    for (const name of ["method", "granularity"]) {
      after(widgetOf(node, name), "callback", () => settle(node, data));
    }
    for (const event of ["onConfigure", "onConnectionsChange"]) {
      after(node, event, () => update(node, data));
    }
    update(node, data);
  },
});
