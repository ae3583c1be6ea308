// Lists this pack's templates by name: the host has them in the order of the disk.
import { api } from "./live/host.js";

const PACK = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-2));
const templates = api.getWorkflowTemplates;

if (templates) {
  api.getWorkflowTemplates = async function (...given) {
    const found = await templates.apply(this, given);
    found?.[PACK]?.sort?.();
    return found;
  };
}
