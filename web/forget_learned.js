// A button on Scaling Cache that deletes the coefficients which ordinary runs left behind.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const LABEL = "forget what was learned";

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
    node.setSize(node.computeSize());
  },
});
