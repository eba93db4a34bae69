// The description of the API, shown by Swagger UI.

// Swagger UI follows a class where the other pages follow the browser's wish.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  // A document is checked by its own tests, not by a server elsewhere.
  validatorUrl: null,
  tryItOutEnabled: true,
});
