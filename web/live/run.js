// One sampling run as its messages tell it, and how to say it. Pure: no page, no frontend.
//
// A message of the pack's Python side (nodes/host/events.py) holds the steps since the last one; the last
// message holds them all, so a run that was followed only in part is whole at its end.

/** Merge a message into the run it belongs to: gives a new run, or the old one if it is the later one. */
export function merge(run, message) {
  const same = run?.id === message.run && run.prompt === message.prompt_id;
  if (run && !same && message.run < run.id) return run;
  const { prompt_id: prompt, run: id, state } = message;
  if (state === "refused") return { id, prompt, state, reason: message.reason, steps: [] };
  const known = same && state !== "done" ? run.steps : [];
  const steps = [...known];
  steps.length = Math.max(message.steps, known.length);
  for (const [step, sigma, computed, reason, error, limit] of message.rows) {
    steps[step] = { sigma, computed: !!computed, reason: message.reasons[reason], error, limit };
  }
  const { name, speedup, seconds = null, notes = [] } = message;
  return { id, prompt, state, name, steps: Array.from(steps), speedup, seconds, notes };
}

export const computed = (run) => run.steps.filter((step) => step?.computed).length;
export const predicted = (run) => run.steps.filter((step) => step && !step.computed).length;

/** Where the estimate of a step stands: 0 for none, 1 at the limit. null without an estimate. */
export function share(step) {
  const known = typeof step?.error === "number" && step.limit > 0;
  return known ? Math.max(step.error / step.limit, 0) : null;
}

/** The line over the marks: what was done, and how much faster it was. */
export function caption(run) {
  if (run.state === "refused") return { text: `Not cached. ${run.reason}`, speedup: "" };
  const [on, off] = [computed(run), predicted(run)];
  if (run.state !== "done") {
    const speedup = off ? `${run.speedup.toFixed(1)}x` : "";
    return { text: `step ${on + off} of ${run.steps.length}, ${on} computed`, speedup };
  }
  if (!off) return { text: ["Nothing predicted.", ...run.notes].join(" "), speedup: "" };
  const text = `${on} computed, ${off} predicted, ${duration(run.seconds)}`;
  return { text, speedup: `${run.speedup.toFixed(2)}x` };
}

/** The same for people who do not see the marks. */
export function summary(run) {
  if (run.state === "refused") return caption(run).text;
  const [on, off] = [computed(run), predicted(run)];
  const total = run.steps.length;
  const parts = [`${run.name}: ${on} of ${total} steps computed, ${off} predicted`];
  if (on + off < total) parts.push(`${total - on - off} to go`);
  if (run.seconds !== null) parts.push(duration(run.seconds));
  if (off) parts.push(`about ${run.speedup.toFixed(2)} times faster`);
  return [parts.join(", "), ...run.notes].join(". ");
}

/** A step in words, as a headline and the lines below it. */
export function describe(run, index) {
  const step = run.steps[index];
  const head = `Step ${index + 1} of ${run.steps.length}`;
  if (!step) return [head, run.state === "done" ? "not sampled" : "still to come"];
  const lines = [head, `sigma ${number(step.sigma)}`];
  lines.push(`${step.computed ? "computed" : "predicted"}: ${step.reason}`);
  if (share(step) !== null) lines.push(`estimate ${number(step.error)}, limit ${number(step.limit)}`);
  return lines;
}

function duration(seconds) {
  if (seconds === null) return "";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function number(value) {
  return value === null ? "unknown" : String(Number(value.toPrecision(3)));
}
