// Folds the advanced inputs away on the canvas: it reads a flag on the widget, which some frontends set
// only in the widget's options. "Show Advanced" in the node's menu brings them back.
import { app } from "../../scripts/app.js";

const NODES = [
  "ScalingCache",
  "ScalingTeaCache",
  "ScalingMagCache",
  "ScalingFirstBlockCache",
  "ScalingDeltaCache",
  "ScalingCfgCache",
  "ScalingStepCacheAdvanced",
  "ScalingCalibrateCache",
  "ScalingProfileBlocks",
];

app.registerExtension({
  name: "ScalingCache.FoldAdvanced",
  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass)) return;
    for (const widget of node.widgets ?? []) {
      if (widget.options?.advanced) widget.advanced = true;
    }
    node.setSize(node.computeSize());
  },
});
