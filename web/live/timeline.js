// Draws a run: a caption, one mark per step, and the estimate against its limit as a thin line.
import { say } from "./language.js";
import { give, make } from "./nodes.js";
import { describe, share } from "./run.js";

// Heights in the stylesheet: caption and marks, the line over the marks, a row of the notes.
const HEIGHT = 34;
const LINE = 17;
const ROW = 15;
const MOST_ROWS = 3;
// Share of the limit at the upper edge of the line's field.
const TOP = 1.25;

/** A view of one node. Show a run with `show`; put `element` where it should be seen. */
export class Timeline {
  #run = null;
  #active = -1;
  #rows = 0;
  #text = make("span", "sc-live-text");
  #speedup = make("span", "sc-live-speedup");
  #note = make("div", "sc-live-note");
  #caption = make("div", "sc-live-caption");
  #plot = make("div", "sc-live-plot", {
    role: "img",
    tabindex: 0,
    "aria-description": say("Arrow keys name the steps, C copies the computed ones"),
  });
  #line = draw("svg", { preserveAspectRatio: "none" });
  #marks = make("div", "sc-live-marks");
  #spoken = make("span", "sc-live-spoken", { role: "status" });
  #tip = make("div", "sc-live-tip", { role: "tooltip" });

  constructor() {
    this.element = make("div", "sc-live");
    this.#caption.append(this.#text, this.#speedup);
    this.#plot.append(this.#line, this.#marks);
    this.element.append(this.#caption, this.#note, this.#plot, this.#spoken);
    this.#listen();
  }

  /** Height in pixels that the view needs. */
  get height() {
    return HEIGHT + (this.element.dataset.line ? LINE : 0) + ROW * this.#rows;
  }

  /** Show a run; `stale` says why it is not of now. */
  show(run, stale, linesOf) {
    const other = run?.id !== this.#run?.id;
    this.#run = run;
    const { caption, speed, notes, summary, steps, state, without } = run;
    const said = say(summary);
    const note = say(notes.join("\n"));
    const head = stale && `${say(stale)}: `;
    this.#text.textContent = head + say(caption);
    this.#caption.title = this.#note.title = said;
    this.#speedup.textContent = say(speed);
    this.#note.textContent = note;
    this.#rows = note ? Math.min(linesOf(note), MOST_ROWS) : 0;
    this.element.dataset.state = state;
    this.element.classList.toggle("sc-live-stale", !!stale);
    // The plot says it all, where there is one.
    for (const part of [this.#caption, this.#note]) give(part, { "aria-hidden": !without });
    give(this.#plot, { "aria-label": head + said });
    this.#drawMarks(steps, state === "running");
    this.#drawLine(steps, state);
    if (other) {
      this.leave();
      this.#spoken.textContent = "";
    } else if (this.#active >= 0) this.#point(this.#active);
  }

  get seen() {
    const { left, right, top, bottom } = this.element.getBoundingClientRect();
    const inside = right > 0 && bottom > 0 && left < window.innerWidth && top < window.innerHeight;
    return inside && bottom - top > HEIGHT / 2;
  }

  /** Take the tooltip away. */
  leave() {
    this.#marks.children[this.#active]?.classList.remove("sc-live-active");
    this.#active = -1;
    this.#tip.remove();
  }

  #drawMarks(steps, running) {
    const marks = this.#marks;
    while (marks.children.length > steps.length) marks.lastChild.remove();
    while (marks.children.length < steps.length) marks.append(make("i", ""));
    const next = running ? steps.findLastIndex((step) => step) + 1 : -1;
    steps.forEach((step, index) => {
      const pending = index === next ? "next" : "pending";
      marks.children[index].dataset.kind = step ? (step.computed ? "computed" : "predicted") : pending;
    });
    marks.style.setProperty("--sc-steps", steps.length || 1);
  }

  #drawLine(steps, state) {
    const shares = steps.map(share);
    const any = shares.some((value) => value !== null);
    // While there may be estimates to come, the room that the last run had for them stays.
    if (any) this.element.dataset.line = "1";
    else if (state !== "running" && state !== "waiting") delete this.element.dataset.line;
    if (!any) return this.#line.replaceChildren();
    this.#line.setAttribute("viewBox", `0 0 ${steps.length} ${TOP}`);
    const limit = path("sc-live-limit", `M0 ${TOP - 1}H${steps.length}`);
    this.#line.replaceChildren(limit, path("sc-live-estimate", track(shares)));
  }

  #listen() {
    const plot = this.#plot;
    plot.onpointermove = (event) => this.#point(this.#at(event.clientX));
    plot.onpointerleave = plot.onblur = () => this.leave();
    plot.onfocus = () => plot.matches(":focus-visible") && this.#walk(Math.max(this.#active, 0));
    plot.onkeydown = (event) => {
      const last = this.#marks.children.length - 1;
      const here = this.#active;
      const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape" && here >= 0) this.leave();
      else if (event.key === "c" && this.#run.computed_steps) this.#copy(this.#run.computed_steps);
      else if (to !== undefined && last >= 0) this.#walk(within(to, 0, last));
      else return;
      // The canvas has meanings of its own for these keys.
      event.preventDefault();
      event.stopPropagation();
    };
  }

  async #copy(steps) {
    await navigator.clipboard?.writeText(steps);
    this.#spoken.textContent = say(`Copied ${steps}`);
  }

  /** Step under a place on the screen, whatever the zoom. */
  #at(x) {
    const { left, width } = this.#marks.getBoundingClientRect();
    const count = this.#marks.children.length;
    return within(Math.floor(((x - left) / width) * count), 0, count - 1);
  }

  /** Go to a step with the keyboard: it is also spoken. */
  #walk(index) {
    this.#point(index);
    if (this.#active >= 0) this.#spoken.textContent = describe(this.#run, index).join(", ");
  }

  #point(index) {
    this.leave();
    const mark = this.#marks.children[index];
    if (!mark) return;
    mark.classList.add("sc-live-active");
    this.#active = index;
    this.#tip.replaceChildren(...describe(this.#run, index).map((line) => make("div", "", {}, line)));
    // On the page: in the node, its neighbours would cover it and its zoom would shrink it.
    document.body.append(this.#tip);
    place(this.#tip, mark.getBoundingClientRect(), this.element.getBoundingClientRect());
  }
}

const within = (value, low, high) => Math.min(Math.max(value, low), high);

/** Over the view at a mark, or below it where there is no room. */
function place(tip, mark, view) {
  const { width, height } = tip.getBoundingClientRect();
  const left = mark.left + mark.width / 2 - width / 2;
  const above = view.top - height - 4;
  tip.style.left = `${within(left, 4, window.innerWidth - width - 4)}px`;
  tip.style.top = `${above < 4 ? view.bottom + 4 : above}px`;
}

/** Path through the estimates; it breaks where there is none, and one alone is a dot. */
function track(shares) {
  const points = shares.map((value, i) => value !== null && `${i + 0.5} ${TOP - Math.min(value, TOP)}`);
  return points.map((point, i) => point && `${points[i - 1] ? "" : `M${point}`}L${point}`).filter(Boolean).join("");
}

const path = (name, d) => draw("path", { class: name, d, "vector-effect": "non-scaling-stroke" });

const draw = (tag, attributes) =>
  give(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
