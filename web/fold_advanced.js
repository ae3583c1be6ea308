// Folds the advanced inputs away on the canvas: it reads a flag on the widget, which some frontends set
// only in the widget's options. "Show Advanced" in the node's menu brings them back.
import { app } from "../../scripts/app.js";

app.registerExtension({
  name: "ScalingCache.FoldAdvanced",
  nodeCreated(node) {
    if (node.comfyClass !== "ScalingCache") return;
    for (const widget of node.widgets ?? []) {
      if (widget.options?.advanced) widget.advanced = true;
    }
    node.setSize(node.computeSize());
  },
});
