// The form of a new job: the file by drag and drop, the options as JSON, and how much has been sent.

import { problemOf } from "./pages.js";

const form = document.getElementById("new");
const file = document.getElementById("checkpoint");
const drop = document.getElementById("drop");
const refusal = document.getElementById("refusal");
const submit = document.getElementById("submit");
const sent = document.getElementById("sent");
const sending = document.getElementById("sending");

for (const type of ["dragenter", "dragover"]) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const type of ["dragleave", "drop"]) {
  drop.addEventListener(type, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) file.files = event.dataTransfer.files;
});

// Whoever fills in a number means that alternative.
for (const input of form.querySelectorAll("[data-group]")) {
  input.addEventListener("input", () => {
    document.getElementById(`${input.dataset.group}-${input.dataset.option}`).checked = true;
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(options());
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

function send(options) {
  const body = new FormData();
  // Small parts first: what is wrong with them is told before the checkpoint has been sent.
  body.append("options", JSON.stringify(options));
  body.append("labels", JSON.stringify(labels()));
  const deadline = document.getElementById("deadline").value;
  if (deadline) body.append("deadline_seconds", deadline);
  body.append("checkpoint", file.files[0]);
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("Idempotency-Key", `"${crypto.randomUUID?.() ?? Math.random()}"`);
  request.upload.addEventListener("progress", (event) => {
    sent.value = (100 * event.loaded) / event.total;
    sending.textContent = event.loaded < event.total ? `${Math.round(sent.value)} % sent` : "Checking the file";
  });
  request.addEventListener("loadend", () => {
    if (request.status === 202) {
      location.assign(`/view/${JSON.parse(request.responseText).id}`);
      return;
    }
    refusal.textContent = problemOf(request);
    setBusy(false);
  });
  refusal.textContent = "";
  setBusy(true);
  request.send(body);
}

function setBusy(isBusy) {
  submit.disabled = isBusy;
  sent.hidden = !isBusy;
  sending.textContent = isBusy ? "Sending" : "";
}
