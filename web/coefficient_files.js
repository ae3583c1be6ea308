// In the menu of the nodes with coefficients: bring a coefficient file here, and take one away, for those who cannot
// reach ComfyUI's folders.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const ROUTE = "/scaling_cache/coefficients";
const SUFFIX = ".safetensors";
const CHOOSES = ["ScalingCache", "ScalingSuggestSpeedup"];
const WRITES = "ScalingCalibrateCache";

function say(severity, detail) {
  app.extensionManager?.toast?.add({ severity, summary: "Scaling Cache", detail, life: 6000 });
}

const widget = (node, name) => node.widgets?.find((one) => one.name === name);

// The file that a node stands for, if it stands for one.
function fileOf(node) {
  if (node.comfyClass === WRITES) {
    const name = widget(node, "name")?.value;
    return name && (name.endsWith(SUFFIX) ? name : name + SUFFIX);
  }
  const chosen = widget(node, "coefficients")?.value;
  return chosen?.endsWith(SUFFIX) ? chosen : undefined;
}

async function bring(node, file) {
  const body = new FormData();
  body.append("file", file);
  const answer = await api.fetchApi(ROUTE, { method: "POST", body });
  const { name, error } = await answer.json();
  if (!answer.ok) return say("error", error);
  await app.refreshComboInNodes();
  const chooser = widget(node, "coefficients");
  if (chooser) chooser.value = name;
  say("success", `Imported ${name}`);
}

function choose(node) {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = SUFFIX;
  input.onchange = () => input.files.length && bring(node, input.files[0]);
  input.click();
}

async function take(name) {
  const answer = await api.fetchApi(`${ROUTE}?name=${encodeURIComponent(name)}`);
  if (!answer.ok) return say("error", (await answer.json()).error);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name.split(/[\\/]/).pop();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

app.registerExtension({
  name: "ScalingCache.CoefficientFiles",
  getNodeMenuItems(node) {
    if (node.comfyClass !== WRITES && !CHOOSES.includes(node.comfyClass)) return [];
    const file = fileOf(node);
    return [
      { content: "Import coefficient file", callback: () => choose(node) },
      {
        content: `Export ${file ?? "coefficient file"}`,
        disabled: !file,
        callback: () => take(file),
      },
    ];
  },
});
