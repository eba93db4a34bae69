// Errors of a form, in the service's words: beside their fields, and other errors above the button.

import { problemOf } from "./pages.js";

const refusal = document.getElementById("refusal");

/** Remove the errors of the previous submission. */
export function clearErrors() {
  refusal.textContent = "";
  for (const place of document.querySelectorAll("[data-error]")) {
    place.textContent = "";
    document.getElementById(place.dataset.error)?.removeAttribute("aria-invalid");
  }
}

/** Show what the browser finds wrong with these fields; returns whether it finds nothing. */
export function checkFields(fields) {
  clearErrors();
  const wrong = fields.filter((field) => !field.validity.valid);
  show(wrong.map((field) => ({ field: field.id, detail: field.validationMessage })), "");
  return wrong.length === 0;
}

/** Show the problem that a request was answered with. */
export function showErrors(request) {
  show(errorsOf(request), inWords(problemOf(request)));
}

/** Show errors beside their fields; if none has a field, show the summary. */
function show(errors, summary) {
  const shown = errors.filter(showError);
  refusal.textContent = shown.length ? "Nothing was submitted: correct the marked fields above." : summary;
  document.querySelector("[aria-invalid]")?.focus();
}

function errorsOf(request) {
  try {
    return JSON.parse(request.responseText).errors ?? [];
  } catch {
    return [];
  }
}

/** Show an error beside its field; return whether there is such a field. */
function showError({ field, detail }) {
  // Options have names of their own in a form, and are part of `options` in a document.
  const [name, ...within] = field.replace(/^options\./, "").split(".");
  const place = document.querySelector(`[data-error="${CSS.escape(name)}"]`);
  if (!place) return false;
  // A field of a closed section cannot get the focus.
  const details = place.closest("details");
  if (details) details.open = true;
  const part = within.filter((step) => step !== "[key]").join(".");
  const sentence = part ? `“${part}”: ${detail}` : `${detail[0].toUpperCase()}${detail.slice(1)}`;
  place.textContent = `${place.textContent} ${inWords(sentence)}`.trim();
  document.getElementById(name)?.setAttribute("aria-invalid", "true");
  return true;
}

/** A sentence of the service with the labels of this form in the place of names in backticks. */
function inWords(sentence) {
  return sentence.replace(/`([^`]+)`/g, (_, name) => {
    const label = labelOf(name);
    return label ? `“${label}”` : name;
  });
}

/** The label of the field of this name; that of an alternative belongs to its radio button. */
function labelOf(name) {
  const field = document.getElementById(name);
  if (!field || !("error" in (document.getElementById(`error-${name}`)?.dataset ?? {}))) return null;
  const id = field.dataset.group ? `${field.dataset.group}-${name}` : name;
  return document.querySelector(`label[for="${CSS.escape(id)}"]`)?.textContent;
}
