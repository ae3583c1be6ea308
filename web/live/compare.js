// Two pictures over each other, and a slider that moves the edge between them.
import { api } from "./host.js";
import { say } from "./language.js";
import { give, make } from "./nodes.js";

/** @param pictures files of that without the cache and that with it. */
export function compare(pictures, loaded) {
  const element = make("div", "sc-compare");
  const names = [say("without the cache"), say("with the cache")];
  names.forEach((alt, i) => {
    const src = api.apiURL(`/view?${new URLSearchParams(pictures[i])}`);
    const picture = make("img", "", { src, alt });
    element.append(picture, make("span", "", { "aria-hidden": true }, alt));
    picture.onload = () => {
      element.style.setProperty("--sc-ratio", picture.naturalWidth / picture.naturalHeight);
      loaded();
    };
  });
  const range = make("input", "", { type: "range", "aria-label": names.toReversed().join(", ") });
  const move = () => {
    element.style.setProperty("--sc-at", `${range.value}%`);
    give(range, { "aria-valuetext": `${names[1]} ${range.value} %` });
  };
  range.oninput = move;
  // Neither the node nor the canvas takes part.
  range.onpointerdown = (event) => event.button || event.stopPropagation();
  range.onkeydown = (event) => event.stopPropagation();
  element.append(range);
  move();
  return Object.assign(element, { pictures });
}
