// Coefficient files in and out by the menus of nodes, for those who cannot reach ComfyUI's folders.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { make, widgetOf } from "./live/nodes.js";

const ROUTE = "/scaling_cache/coefficients";
// A page of another site cannot send it.
const HEADERS = { "X-Scaling-Cache": "1" };
const SUFFIX = ".safetensors";
const CHOOSES = ["ScalingCache", "ScalingSuggestSpeedup"];
const WRITES = "ScalingCalibrateCache";

function say(severity, detail) {
  app.extensionManager?.toast?.add({ severity, summary: "Scaling Cache", detail, life: 6000 });
}

// The file that a node stands for, if it stands for one. A workflow may hold anything as a value.
function fileOf(node) {
  const writes = node.comfyClass === WRITES;
  const value = widgetOf(node, writes ? "name" : "coefficients")?.value;
  if (typeof value !== "string" || !value) return undefined;
  if (value.endsWith(SUFFIX)) return value;
  return writes ? value + SUFFIX : undefined;
}

// What a proxy in between answers may be no JSON.
async function ask(path, options) {
  const answer = await api.fetchApi(path, { ...options, headers: HEADERS });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  throw new Error(told?.error ?? `ComfyUI answered ${answer.status} ${answer.statusText}`);
}

async function bring(node, file) {
  const body = new FormData();
  body.append("file", file);
  const { name } = await (await ask(ROUTE, { method: "POST", body })).json();
  await app.refreshComboInNodes();
  const chooser = widgetOf(node, "coefficients");
  if (chooser) chooser.value = name;
  say("success", `Imported ${name}`);
}

function choose(node) {
  const input = make("input", "", { type: "file", accept: SUFFIX });
  input.onchange = () => input.files.length && orSay(bring(node, input.files[0]));
  input.click();
}

async function take(name) {
  const answer = await ask(`${ROUTE}?name=${encodeURIComponent(name)}`);
  const href = URL.createObjectURL(await answer.blob());
  make("a", "", { href, download: name.split(/[\\/]/).pop() }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

const orSay = (done) => done.catch((error) => say("error", error.message));

app.registerExtension({
  name: "ScalingCache.CoefficientFiles",
  getNodeMenuItems(node) {
    if (node.comfyClass !== WRITES && !CHOOSES.includes(node.comfyClass)) return [];
    const file = fileOf(node);
    // The canvas takes the content of an entry for HTML, so no name may stand in it.
    return [
      { content: "Import coefficient file", callback: () => choose(node) },
      { content: "Export coefficient file", disabled: !file, callback: () => orSay(take(file)) },
    ];
  },
});
