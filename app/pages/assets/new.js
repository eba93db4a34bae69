// The form of a new job: the file, and the options as JSON.

import { send, takeDrops } from "./sending.js";

const form = document.getElementById("new");
const file = document.getElementById("checkpoint");

takeDrops(file);

// Whoever fills in a number means that alternative.
for (const input of form.querySelectorAll("[data-group]")) {
  input.addEventListener("input", () => {
    document.getElementById(`${input.dataset.group}-${input.dataset.option}`).checked = true;
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submitJob(options());
});

/** The options that were filled in. */
function options() {
  const found = {};
  for (const input of form.querySelectorAll("[data-option]")) {
    const { option, group } = input.dataset;
    const isChosen = !group || document.getElementById(`${group}-${option}`).checked;
    const value = valueOf(input);
    if (isChosen && value !== null) found[option] = value;
  }
  return found;
}

/** The labels that were filled in; one without a value has an empty one. */
function labels() {
  const pairs = document.getElementById("labels").value.split(",").map((pair) => pair.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => [pair.split("=")[0].trim(), pair.split("=").slice(1).join("=").trim()]));
}

function valueOf(input) {
  if (input.type === "checkbox") return input.checked;
  if (input.value.trim() === "") return null;
  if (input.type === "number") return Number(input.value);
  if ("list" in input.dataset) return input.value.split(",").map((part) => part.trim()).filter(Boolean);
  return input.value.trim();
}

function submitJob(options) {
  const body = new FormData();
  // Small parts first: what is wrong with them is told before the checkpoint has been sent.
  body.append("options", JSON.stringify(options));
  body.append("labels", JSON.stringify(labels()));
  const deadline = document.getElementById("deadline").value;
  if (deadline) body.append("deadline_seconds", deadline);
  body.append("checkpoint", file.files[0]);
  const headers = { "Idempotency-Key": `"${crypto.randomUUID?.() ?? Math.random()}"` };
  send(form.action, headers, body, 202, (job) => location.assign(`/view/${job.id}`));
}
