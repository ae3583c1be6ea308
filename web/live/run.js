// One sampling run as its messages (nodes/host/progress.py) tell it.
// A message holds the steps since the last one, the last message all of them.
import { say } from "./language.js";

const OVER = new Set(["done", "stopped"]);

/** The run after a message: a new one, or the old one if that is later. */
export function merge(run, message) {
  const same = run?.id === message.run && run?.prompt === message.prompt_id;
  if (run && !same && message.run < run.id) return run;
  const { prompt_id: prompt, run: id, state, rows, reasons, ...more } = message;
  // A cache may be replaced on the way to one sampler, and sample with another.
  if (state === "replaced" && run?.prompt === prompt && run.steps.length) return run;
  const told = { summary: more.caption, speed: "", notes: [], ...more, id, prompt, state };
  // Without the cache of this node there is a reason, and no steps.
  if (!rows) return { ...told, without: true, steps: [] };
  const steps = same && !OVER.has(state) ? [...run.steps] : [];
  steps.length = Math.max(message.steps, steps.length);
  for (const [step, sigma, computed, reason, error, limit] of rows) {
    steps[step] = { sigma, computed: !!computed, reason: reasons[reason], error, limit };
  }
  return { ...told, steps: Array.from(steps) };
}

/** Where the estimate of a step stands: 0 for none, 1 at the limit. null without an estimate. */
export function share(step) {
  const known = typeof step?.error === "number" && step.limit > 0;
  return known ? Math.max(step.error / step.limit, 0) : null;
}

/** A step in words, counted from 0 as inputs count them: a headline and the lines below it. */
export function describe({ steps, state }, index) {
  const step = steps[index];
  const lines = [`Step ${index} of 0-${steps.length - 1}`];
  if (!step) lines.push(OVER.has(state) ? "not sampled" : "still to come");
  else {
    lines.push(`sigma ${number(step.sigma)}`);
    lines.push(`${step.computed ? "computed" : "predicted"}: ${step.reason}`);
    if (share(step) !== null) lines.push(`estimate ${number(step.error)}, limit ${number(step.limit)}`);
  }
  return lines.map(say);
}

const number = (value) => (value === null ? "unknown" : String(Number(value.toPrecision(3))));
