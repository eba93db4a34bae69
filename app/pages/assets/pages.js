// For every page: error messages, and navigation after an action.

const alert = document.getElementById("alert");

/** Return the error message of an API response. */
export function problemOf(request) {
  try {
    return JSON.parse(request.responseText).detail;
  } catch {
    return request.status ? `The service answered with ${request.status}; try again.` : "The service cannot be reached.";
  }
}

document.body.addEventListener("htmx:responseError", (event) => {
  alert.textContent = problemOf(event.detail.xhr);
});
document.body.addEventListener("htmx:sendError", () => {
  alert.textContent = "The service cannot be reached; this page continues when it is back.";
});
document.body.addEventListener("htmx:afterOnLoad", (event) => {
  if (event.detail.xhr.status >= 400) return;
  alert.textContent = "";
  const then = event.detail.elt.dataset?.then;
  if (then) location.assign(then);
});
