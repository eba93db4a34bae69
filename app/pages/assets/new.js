// The form of a new job: the file, and the options as JSON.

import { labelsIn, problemOfLabels } from "./labels.js";
import { send, submitBy, takeDrops } from "./sending.js";

const form = document.getElementById("new");
const file = document.getElementById("checkpoint");
const numbers = form.querySelectorAll("[data-group]");

takeDrops(file);

// Entering a number selects its alternative, and a selected alternative requires its number.
for (const input of numbers) {
  input.addEventListener("input", () => {
    radioOf(input).checked = input.value !== "" || radioOf(input).checked;
  });
}

submitBy(form, fieldsInUse, submitJob);

function radioOf(input) {
  return document.getElementById(`${input.dataset.group}-${input.dataset.option}`);
}

function isInUse(field) {
  return !field.dataset.group || radioOf(field).checked;
}

/** Return the fields that are in use, and check what attributes cannot express. */
function fieldsInUse() {
  for (const input of numbers) input.required = isInUse(input);
  for (const input of form.querySelectorAll("[data-above]")) {
    const isTooSmall = input.value !== "" && Number(input.value) <= Number(input.dataset.above);
    input.setCustomValidity(isTooSmall ? `Give a number above ${input.dataset.above}.` : "");
  }
  document.getElementById("labels").setCustomValidity(problemOfLabels(textOf("labels")));
  document.getElementById("architecture").setCustomValidity(problemOfArchitecture(textOf("architecture")));
  return [...form.elements].filter(isInUse);
}

/** What is wrong with the name of an architecture, or an empty text; the suggestions of its field are all names. */
function problemOfArchitecture(name) {
  const names = [...document.getElementById("architectures").options].map((entry) => entry.value);
  if (name === "" || names.includes(name)) return "";
  const meant = names.find((known) => known.endsWith(`:${name}`)) ?? names.find((known) => known.includes(name));
  return meant ? `There is no such architecture; did you mean ${meant}?` : "There is no such architecture.";
}

/** Return the options that were filled in, as JSON. */
function options() {
  const found = {};
  for (const input of form.querySelectorAll("[data-option]")) {
    const value = jsonOf(input);
    if (isInUse(input) && value !== null) found[input.dataset.option] = value;
  }
  return objectOf(found);
}

function textOf(id) {
  return document.getElementById(id).value.trim();
}

/** The value of a field as JSON; null if it is empty. */
function jsonOf(input) {
  if (input.type === "checkbox") return JSON.stringify(input.checked);
  const text = input.value.trim();
  if (text === "") return null;
  if (input.type === "number") return numberOf(text);
  return JSON.stringify("list" in input.dataset ? patternsIn(text) : text);
}

/** A number as JSON. Numbers of scripts are exact to 2^53 only, and a seed may be larger. */
function numberOf(text) {
  return /^-?\d+$/.test(text) ? BigInt(text).toString() : JSON.stringify(Number(text));
}

/** Patterns between commas; those in brackets are part of a pattern. */
function patternsIn(text) {
  return text.split(/,(?![^[\]]*\])/).map((part) => part.trim()).filter(Boolean);
}

/** A JSON object of values that are JSON already. */
function objectOf(parts) {
  return `{${Object.entries(parts).map(([name, json]) => `${JSON.stringify(name)}: ${json}`).join(", ")}}`;
}

function submitJob() {
  const parts = { options: options(), labels: JSON.stringify(labelsIn(textOf("labels"))) };
  if (textOf("deadline_seconds")) parts.deadline_seconds = numberOf(textOf("deadline_seconds"));
  const headers = { "Idempotency-Key": `"${crypto.randomUUID?.() ?? Math.random()}"` };
  const body = file.files.length ? withFile(parts) : withCheckpoint(parts, headers);
  send(form.action, headers, body, 202, (job) => location.assign(job.links.page));
}

/** Build a form with the file. Small parts come first, so their errors are reported before the file is sent. */
function withFile(parts) {
  const body = new FormData();
  for (const [name, json] of Object.entries(parts)) body.append(name, json);
  if (textOf("name")) body.append("name", textOf("name"));
  body.append("checkpoint", file.files[0]);
  return body;
}

/** Build a document that names the checkpoint that is already uploaded. */
function withCheckpoint(parts, headers) {
  headers["Content-Type"] = "application/json";
  const name = textOf("name") ? { name: JSON.stringify(textOf("name")) } : {};
  // `form.dataset` is the field of that name.
  const checkpoint = JSON.stringify({ sha256: form.getAttribute("data-sha256") });
  return objectOf({ checkpoint, ...name, ...parts });
}
