// What the pack says in the user's language, by locales/*/messages.json.
import { api, app } from "./host.js";

let sentences = [];

/** A text of one or several lines. What the catalogue lacks stays English. */
export const say = (text) => text.split("\n").map(translated).join("\n");

/** The first template that fits counts. What is put into it may be a sentence of its own. */
function translated(sentence) {
  for (const [shape, told] of sentences) {
    const found = shape.exec(sentence);
    if (found) return told.replace(/\{(\d+)\}/g, (_, place) => translated(found[+place + 1]));
  }
  return sentence;
}

function shapeOf(template) {
  const parts = template.split("{}").map((part) => part.replace(/[^\w\s]/g, "\\$&"));
  return new RegExp(`^${parts.join("(.+?)")}$`);
}

async function load(language) {
  const answer = await api.fetchApi(`/scaling_cache/messages?language=${language}`);
  const catalogue = Object.entries(await answer.json());
  sentences = catalogue.map(([template, told]) => [shapeOf(template), told]);
}

app.ui.settings.addEventListener("Comfy.Locale.change", ({ detail }) => load(detail.value));
// Names of commands and settings are told once. Without a catalogue they are English.
await load(app.extensionManager.setting.get("Comfy.Locale")).catch(console.warn);
