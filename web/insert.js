// Puts caches where models go, by menus and commands; and lets the search find them.
import { app } from "./live/host.js";
import { say } from "./live/language.js";
import { caches, widgetOf } from "./live/nodes.js";

// In names where the host has no aliases, near their beginnings.
const CACHE = "ScalingCache";
const WORDS = { [CACHE]: "加速缓存 speed up, faster", ScalingStepCacheAdvanced: "skip steps" };
const BYPASSED = 4;
const names = new Map();

const input = (node, type) => node?.inputs?.findIndex((one) => one.type === type) ?? -1;
const output = (node, type) => node?.outputs?.findIndex((one) => one.type === type) ?? -1;
const before = (node, type) => node?.getInputNode?.(input(node, type)) ?? null;
const after = (node, type) => node.getOutputNodes?.(output(node, type)) ?? [];

const taker = (node) => (input(node, "MODEL") < 0 ? before(node, "GUIDER") : node);
const samples = (node) => output(node, "LATENT") >= 0 && input(taker(node), "MODEL") >= 0;
const loads = (node) => output(node, "MODEL") >= 0 && input(node, "MODEL") < 0;

function cacheOf(node) {
  for (let at = before(node, "MODEL"); at; at = before(at, "MODEL")) if (caches(at)) return at;
  return null;
}

function chain(node, found = new Set()) {
  if (!node || found.has(node) || !samples(node)) return found;
  chain(before(node, "LATENT"), found);
  found.add(node);
  for (const next of after(node, "LATENT")) chain(next, found);
  return found;
}

function add(graph, kind, at) {
  const node = LiteGraph.createNode(kind);
  graph.add(node);
  node.pos = [at.pos[0], at.pos[1] - node.size[1] - 60];
  return node;
}

function speedUp(chosen) {
  const made = new Map();
  const samplers = new Set(chosen.filter(samples).flatMap((node) => [...chain(node)]));
  const takers = [...samplers].map(taker);
  takers.push(...chosen.filter(loads).flatMap((node) => after(node, "MODEL")));
  for (const node of new Set(takers)) {
    const origin = before(node, "MODEL");
    if (!origin || caches(node) || cacheOf(node)) continue;
    const slot = node.getInputLink(input(node, "MODEL")).origin_slot;
    const key = `${origin.id} ${slot}`;
    const cache = made.get(key) ?? add(node.graph, CACHE, node);
    if (!made.has(key)) origin.connect(slot, cache, 0);
    made.set(key, cache);
    cache.connect(0, node, input(node, "MODEL"));
  }
  return samplers;
}

function compare(node) {
  const last = [...speedUp([node])].at(-1);
  const cache = last && cacheOf(taker(last));
  if (!cache) return;
  const originals = [...chain(last)].flatMap((one) => [...new Set([taker(one), one])]);
  const below = 80 + Math.max(...originals.map((one) => one.size[1]));
  for (const one of originals) {
    const seed = widgetOf(one, "control_after_generate");
    if (seed) seed.value = "fixed";
  }
  const copies = new Map(originals.map((one) => [one, one.clone()]));
  for (const [one, copy] of copies) {
    node.graph.add(copy);
    copy.pos = [one.pos[0], one.pos[1] + below];
  }
  let plain;
  for (const [one, copy] of copies) {
    one.inputs.forEach((each, slot) => {
      const from = one.getInputNode(slot);
      if (!from || each.type === "MODEL") return;
      (copies.get(from) ?? from).connect(one.getInputLink(slot).origin_slot, copy, slot);
    });
    const own = cacheOf(one);
    if (!own) continue;
    plain = add(node.graph, CACHE, copy);
    widgetOf(plain, "speedup").value = 1;
    before(own, "MODEL").connect(own.getInputLink(input(own, "MODEL")).origin_slot, plain, 0);
    plain.connect(0, copy, input(copy, "MODEL"));
  }
  const report = add(node.graph, "ScalingCacheReport", last);
  report.pos = [last.pos[0] + last.size[0] + 60, last.pos[1] + below];
  const give = (from, type, name) => from.connect(output(from, type), report, name);
  give(last, "LATENT", "latent");
  give(copies.get(last), "LATENT", "reference_latent");
  give(cache, "MODEL", "model");
  give(plain, "MODEL", "reference_model");
}

function toggle() {
  const root = app.rootGraph ?? app.graph;
  const all = [root, ...(root.subgraphs?.values() ?? [])].flatMap(({ _nodes }) => _nodes.filter(caches));
  const mode = all.some((node) => node.mode !== BYPASSED) ? BYPASSED : 0;
  for (const node of all) node.mode = mode;
}

function change(work) {
  const graph = app.canvas.graph;
  graph.beforeChange();
  work();
  graph.afterChange();
  graph.setDirtyCanvas(true, true);
  app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
}

/** The selected nodes, or all samplers of the graph. */
function chosen() {
  const selected = Object.values(app.canvas.selected_nodes ?? {});
  return selected.length ? selected : app.canvas.graph._nodes.filter(samples);
}

const UP = say("Speed up with Scaling Cache");
const BOTH = say("Compare with and without cache");
const COMMANDS = [
  ["SpeedUp", "s", UP, () => speedUp(chosen())],
  ["Compare", "c", BOTH, () => compare(chosen().find(samples))],
  ["Toggle", "x", say("Switch all caches on or off"), toggle],
].map(([name, key, label, work]) => ({ id: `ScalingCache.${name}`, key, label, work }));

app.registerExtension({
  name: "ScalingCache.Insert",
  commands: COMMANDS.map(({ id, label, work }) => ({
    ...{ id, label, icon: "pi pi-bolt" },
    function: () => change(work),
  })),
  keybindings: COMMANDS.map(({ id, key }) => ({ commandId: id, combo: { key, alt: true, shift: true } })),
  menuCommands: [{ path: ["Extensions"], commands: COMMANDS.map(({ id }) => id) }],
  getNodeMenuItems(node) {
    const item = (content, work) => ({ content, callback: () => change(work) });
    const items = [];
    if (samples(node) || loads(node)) items.push(item(UP, () => speedUp([node])));
    if (samples(node)) items.push(item(BOTH, () => compare(node)));
    return items;
  },
  addCustomNodeDefs(defs) {
    for (const [id, words] of Object.entries(WORDS)) {
      const def = defs[id];
      if (!def || def.search_aliases) continue;
      const { display_name: name } = def;
      def.display_name = `${name} ${words}`;
      names.set(def.display_name, name);
    }
  },
  nodeCreated(node) {
    const name = names.get(node.title);
    // Titles that are not saved.
    if (name) node.title = node.constructor.title = name;
  },
});
