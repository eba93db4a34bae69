// File selection by drop or dialog, and upload with progress.

import { checkFields, clearErrors, showErrors } from "./errors.js";

const submit = document.getElementById("submit");
const sent = document.getElementById("sent");
const sending = document.getElementById("sending");

/** Use a file that is dropped on the drop area as the file of this input. */
export function takeDrops(file) {
  const drop = document.getElementById("drop");
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
    if (!event.dataTransfer.files.length) return;
    file.files = event.dataTransfer.files;
    file.dispatchEvent(new Event("change"));
  });
}

/** Submit the form with this function if the fields that `fields` returns are valid. */
export function submitBy(form, fields, submitForm) {
  // The browser reports no errors of fields that it cannot show, as in a closed section.
  form.noValidate = true;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (checkFields(fields())) submitForm();
  });
  // The browser may keep the page as it was when its form had been sent.
  addEventListener("pageshow", (event) => {
    if (event.persisted) setBusy(false);
  });
  setBusy(false);
}

/** Send a body; call `done` with the document of the expected status, show errors otherwise. */
export function send(address, headers, body, expected, done) {
  const request = new XMLHttpRequest();
  request.open("POST", address);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.addEventListener("progress", (event) => {
    sent.value = (100 * event.loaded) / event.total;
    sending.textContent = event.loaded < event.total ? `${Math.round(sent.value)} % sent` : "Checking the file";
  });
  request.addEventListener("loadend", () => {
    if (request.status === expected) {
      done(JSON.parse(request.responseText));
      return;
    }
    setBusy(false);
    showErrors(request);
  });
  clearErrors();
  setBusy(true);
  request.send(body);
}

function setBusy(isBusy) {
  submit.disabled = isBusy;
  sent.hidden = !isBusy;
  sending.textContent = isBusy ? "Sending" : "";
}
