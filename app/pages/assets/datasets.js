// Form that uploads a data set: the file, and the name that jobs will use.

import { send, submitBy, takeDrops } from "./sending.js";

const form = document.getElementById("upload");
const file = document.getElementById("file");
const name = document.getElementById("name");

takeDrops(file);

// Suggest the file's name.
file.addEventListener("change", () => {
  if (!name.value) name.value = file.files[0].name.replace(/\.safetensors$/, "").toLowerCase().replace(/[^a-z0-9._-]+/g, "-");
});

submitBy(form, () => [...form.elements], () => {
  const address = `${form.action}?${new URLSearchParams({ name: name.value })}`;
  send(address, { "Content-Type": "application/octet-stream" }, file.files[0], 201, () => location.reload());
});
