// Shows the description of the API in Swagger UI.

// Swagger UI needs a class for dark mode; the other pages use the browser's preference.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  // No external validator: the tests check the document.
  validatorUrl: null,
  tryItOutEnabled: true,
});
