// A button on Scaling Cache that deletes the coefficients which ordinary runs left behind. It is folded away with
// the advanced inputs and stands below the last of them.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const LABEL = "forget what was learned";
// The canvas puts this much space between widgets.
const SPACING = 4;

async function forget() {
  const answer = await api.fetchApi("/scaling_cache/forget", { method: "POST" });
  const { forgotten } = await answer.json();
  app.extensionManager?.toast?.add({
    severity: "info",
    summary: "Scaling Cache",
    detail: forgotten ? `Forgot ${forgotten} learned file(s)` : "Nothing was learned yet",
    life: 3000,
  });
}

app.registerExtension({
  name: "ScalingCache.ForgetLearned",
  nodeCreated(node) {
    if (node.comfyClass !== "ScalingCache") return;
    const button = node.addWidget("button", LABEL, null, forget, { serialize: false });
    button.serialize = false;
    button.advanced = true;
    button.tooltip = "Deletes the coefficients that ordinary runs left behind, of all models.";
    button.computeSize = (width) => [
      width ?? 0,
      node.showAdvanced ? window.LiteGraph.NODE_WIDGET_HEIGHT : -SPACING,
    ];
    const others = node.widgets.filter((widget) => widget !== button);
    const last = others.findIndex((widget) => widget.name === "corrector");
    node.widgets = [...others.slice(0, last + 1), button, ...others.slice(last + 1)];
    node.setSize(node.computeSize());
  },
});
