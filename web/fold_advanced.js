// Folds the advanced inputs of this pack away on the canvas: it reads a flag on the widget, which some
// frontends set only in the widget's options. "Show Advanced" in the node's menu brings them back.
import { app } from "../../scripts/app.js";

// The canvas puts this much space between widgets.
const SPACING = 4;

/** Hide a widget until its node shows the advanced ones; what stands below it moves up. */
function fold(node, widget) {
  widget.advanced = true;
  if (widget.computeSize || widget.computeLayoutSize) return;
  widget.computeSize = (width) => [
    width ?? 0,
    node.showAdvanced ? window.LiteGraph.NODE_WIDGET_HEIGHT : -SPACING,
  ];
}

app.registerExtension({
  name: "ScalingCache.FoldAdvanced",
  nodeCreated(node) {
    const { required, optional } = node.constructor.nodeData?.input ?? {};
    const told = { ...required, ...optional };
    const folded = node.widgets?.filter(({ name }) => told[name]?.[1]?.scaling_cache_folds);
    if (!folded?.length) return;
    for (const widget of folded) fold(node, widget);
    node.setSize(node.computeSize());
  },
});
