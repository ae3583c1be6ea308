// One sampling run as its messages (nodes/host/progress.py) tell it, and how to say it. Pure: no page.
// A message holds the steps since the last one, the last message all of them.

const OVER = new Set(["done", "stopped"]);
const TITLES = { refused: "Not cached.", replaced: "Replaced." };

/** Merge a message into the run it belongs to: gives a new run, or the old one if it is the later one. */
export function merge(run, message) {
  const same = run?.id === message.run && run.prompt === message.prompt_id;
  if (run && !same && message.run < run.id) return run;
  const { prompt_id: prompt, run: id, state, reason: why, rows, reasons, ...more } = message;
  // A cache may be replaced on the way to one sampler, and sample with another.
  if (state === "replaced" && run?.prompt === prompt && run.steps.length) return run;
  if (TITLES[state]) return { id, prompt, state, reason: why, steps: [] };
  const steps = same && !OVER.has(state) ? [...run.steps] : [];
  steps.length = Math.max(message.steps, steps.length);
  for (const [step, sigma, computed, reason, error, limit] of rows) {
    steps[step] = { sigma, computed: !!computed, reason: reasons[reason], error, limit };
  }
  const notes = more.notes ?? [];
  return { seconds: null, ...more, id, prompt, state, notes, steps: Array.from(steps) };
}

const count = (run, kind) => run.steps.filter((step) => step?.computed === kind).length;

/** Computed and predicted steps. A page that missed some is told their number. */
function counts(run) {
  const seen = [count(run, true), count(run, false)];
  return OVER.has(run.state) || !run.counts ? seen : seen.map((n, i) => Math.max(n, run.counts[i]));
}

/** Where the estimate of a step stands: 0 for none, 1 at the limit. null without an estimate. */
export function share(step) {
  const known = typeof step?.error === "number" && step.limit > 0;
  return known ? Math.max(step.error / step.limit, 0) : null;
}

/** What stands over the marks. Speeds are estimates: no plain run was made. */
export function caption(run) {
  if (TITLES[run.state]) return { text: `${TITLES[run.state]} ${run.reason}` };
  const [on, off] = counts(run);
  const total = run.steps.length;
  const reached = off ? `about ${run.speedup.toFixed(1)}x` : "";
  const speedup = [run.asked ? `asked ${run.asked.toFixed(1)}x` : "", reached].filter(Boolean).join(", ");
  const note = run.notes.join(". ");
  const at = `step ${on + off} of ${total}`;
  if (run.state === "stopped") return { text: `Stopped at ${at}`, speedup, note };
  if (run.state !== "done") {
    const left = run.left > 0 ? `, ${duration(run.left)} left` : "";
    return { text: `${at}${left}`, speedup, note };
  }
  if (!off) return { text: "Nothing predicted", note };
  const saved = run.saved > 0 ? `, saved ${duration(run.saved)}` : "";
  return { text: `${on} of ${total} computed${saved}`, speedup, note };
}

/** The same for people who do not see the marks, with all that is known. */
export function summary(run) {
  if (TITLES[run.state]) return caption(run).text;
  const [on, off] = counts(run);
  const total = run.steps.length;
  const parts = [`${run.name}: ${on} of ${total} steps computed, ${off} predicted`];
  if (run.state === "stopped") parts.push("stopped early");
  else if (on + off < total) parts.push(`${total - on - off} to go`);
  if (run.seconds !== null) parts.push(duration(run.seconds));
  if (off) parts.push(`about ${run.speedup.toFixed(2)} times faster`);
  if (run.asked) parts.push(`asked ${run.asked.toFixed(1)} times`);
  if (run.seconds_predicted) {
    const each = [run.seconds_computed, run.seconds_predicted].map(duration);
    parts.push(`${each[0]} per computed step, ${each[1]} per predicted step`);
  }
  if (run.cache_bytes) parts.push(`${(run.cache_bytes / 2 ** 20).toPrecision(3)} MiB held`);
  return [parts.join(", "), ...run.notes].join(". ");
}

/** A step in words, as a headline and the lines below it. */
export function describe(run, index) {
  const step = run.steps[index];
  const head = `Step ${index + 1} of ${run.steps.length}`;
  if (!step) return [head, OVER.has(run.state) ? "not sampled" : "still to come"];
  const lines = [head, `sigma ${number(step.sigma)}`];
  lines.push(`${step.computed ? "computed" : "predicted"}: ${step.reason}`);
  if (share(step) !== null) lines.push(`estimate ${number(step.error)}, limit ${number(step.limit)}`);
  return lines;
}

function duration(seconds) {
  if (seconds === null) return "";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} min`;
}

function number(value) {
  return value === null ? "unknown" : String(Number(value.toPrecision(3)));
}
