// Coefficient files in and out by the menus of nodes.
import { api, app } from "./live/host.js";
import { say } from "./live/language.js";
import { make, widgetOf } from "./live/nodes.js";

const ROUTE = "/scaling_cache/coefficients";
const SUFFIX = ".safetensors";
const CHOOSES = ["ScalingCache", "ScalingSuggestSpeedup"];
const WRITES = "ScalingCalibrateCache";

function tell(severity, text) {
  const { toast } = app.extensionManager;
  toast.add({ severity, summary: "Scaling Cache", detail: say(text), life: 6000 });
}

// The file that a node stands for, if it stands for one. A workflow may hold anything as a value.
function fileOf(node) {
  const writes = node.comfyClass === WRITES;
  const value = widgetOf(node, writes ? "name" : "coefficients")?.value;
  if (typeof value !== "string" || !value) return null;
  if (value.endsWith(SUFFIX)) return value;
  return writes ? value + SUFFIX : null;
}

// What a proxy in between answers may be no JSON.
async function ask(path, options = {}) {
  const answer = await api.fetchApi(path, options);
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  throw new Error(told?.error ?? `ComfyUI answered ${answer.status} ${answer.statusText}`);
}

async function bring(node, file) {
  const body = new FormData();
  body.append("file", file);
  // A page of another site cannot send it.
  const headers = { "X-Scaling-Cache": "1" };
  const { name } = await (await ask(ROUTE, { method: "POST", headers, body })).json();
  await app.refreshComboInNodes();
  const chooser = widgetOf(node, "coefficients");
  if (chooser) chooser.value = name;
  tell("success", `Imported ${name}`);
}

function choose(node) {
  const input = make("input", "", { type: "file", accept: SUFFIX });
  input.onchange = () => input.files.length && orTell(bring(node, input.files[0]));
  input.click();
}

async function take(name) {
  const answer = await ask(`${ROUTE}?name=${encodeURIComponent(name)}`);
  const href = URL.createObjectURL(await answer.blob());
  make("a", "", { href, download: name.split(/[\\/]/).pop() }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

const orTell = (done) => done.catch((error) => tell("error", error.message));

app.registerExtension({
  name: "ScalingCache.CoefficientFiles",
  getNodeMenuItems(node) {
    if (node.comfyClass !== WRITES && !CHOOSES.includes(node.comfyClass)) return [];
    const file = fileOf(node);
    // The canvas takes the content of an entry for HTML, so no name may stand in it.
    return [
      { content: say("Import coefficient file"), callback: () => choose(node) },
      { content: say("Export coefficient file"), disabled: !file, callback: () => orTell(take(file)) },
    ];
  },
});
