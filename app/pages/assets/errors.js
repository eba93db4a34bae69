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

/** Show the problem that a request was answered with. */
export function showErrors(request) {
  const shown = errorsOf(request).filter(showError);
  refusal.textContent = shown.length ? "Nothing was submitted: correct the marked fields above." : problemOf(request);
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
  const [name, ...within] = field.split(".");
  const place = document.querySelector(`[data-error="${CSS.escape(name)}"]`);
  if (!place) return false;
  const details = place.closest("details");
  if (details) details.open = true;
  const sentence = within.length ? `${within.join(".")}: ${detail}` : detail;
  place.textContent = `${place.textContent} ${sentence[0].toUpperCase()}${sentence.slice(1)}`.trim();
  document.getElementById(name)?.setAttribute("aria-invalid", "true");
  return true;
}
