// All that is taken from the frontend by import.
export { api } from "../../../scripts/api.js";
export { app } from "../../../scripts/app.js";
