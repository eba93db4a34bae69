// On every page: errors in words, and where to go after something was done.

const alert = document.getElementById("alert");

/** What an answer of the API says went wrong. */
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
  alert.textContent = "The service cannot be reached; this page goes on when it can.";
});
document.body.addEventListener("htmx:afterOnLoad", (event) => {
  if (event.detail.xhr.status >= 400) return;
  alert.textContent = "";
  const then = event.detail.elt.dataset?.then;
  if (then) location.assign(then);
});
