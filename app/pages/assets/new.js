// The form of a new job: the file, and the options as JSON.

import { send, submitBy, takeDrops } from "./sending.js";

const form = document.getElementById("new");
const file = document.getElementById("checkpoint");
const numbers = form.querySelectorAll("[data-group]");

takeDrops(file);

// Entering a number selects its alternative, and a selected alternative requires its number.
for (const input of numbers) {
  input.addEventListener("input", () => {
    radioOf(input).checked = input.value !== "" || radioOf(input).checked;
    requireChosen();
  });
}
for (const radio of form.querySelectorAll("[type=radio]")) radio.addEventListener("change", requireChosen);
requireChosen();

submitBy(form, submitJob);

function radioOf(input) {
  return document.getElementById(`${input.dataset.group}-${input.dataset.option}`);
}

function requireChosen() {
  for (const input of numbers) input.required = radioOf(input).checked;
}

/** Return the options that were filled in. */
function options() {
  const found = {};
  for (const input of form.querySelectorAll("[data-option]")) {
    const isChosen = !input.dataset.group || radioOf(input).checked;
    const value = valueOf(input);
    if (isChosen && value !== null) found[input.dataset.option] = value;
  }
  return found;
}

/** Return the labels that were filled in; a label without a value gets an empty value. */
function labels() {
  const pairs = textOf("labels").split(",").map((pair) => pair.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => [pair.split("=")[0].trim(), pair.split("=").slice(1).join("=").trim()]));
}

function textOf(id) {
  return document.getElementById(id).value.trim();
}

function valueOf(input) {
  if (input.type === "checkbox") return input.checked;
  if (input.value.trim() === "") return null;
  if (input.type === "number") return Number(input.value);
  if ("list" in input.dataset) return input.value.split(",").map((part) => part.trim()).filter(Boolean);
  return input.value.trim();
}

function submitJob() {
  const parts = { options: options(), labels: labels() };
  if (textOf("deadline_seconds")) parts.deadline_seconds = Number(textOf("deadline_seconds"));
  const headers = { "Idempotency-Key": `"${crypto.randomUUID?.() ?? Math.random()}"` };
  const body = file.files.length ? withFile(parts) : withCheckpoint(parts, headers);
  send(form.action, headers, body, 202, (job) => location.assign(job.links.page));
}

/** Build a form with the file. Small parts come first, so their errors are reported before the file is sent. */
function withFile(parts) {
  const body = new FormData();
  for (const [name, value] of Object.entries(parts)) body.append(name, JSON.stringify(value));
  if (textOf("name")) body.append("name", textOf("name"));
  body.append("checkpoint", file.files[0]);
  return body;
}

/** Build a document that names the checkpoint that is already uploaded. */
function withCheckpoint(parts, headers) {
  headers["Content-Type"] = "application/json";
  const name = textOf("name") ? { name: textOf("name") } : {};
  // `form.dataset` is the field of that name.
  return JSON.stringify({ checkpoint: { sha256: form.getAttribute("data-sha256") }, ...name, ...parts });
}
