// Labels as people write them in the form, `team=vision, model=resnet20`, and what is wrong with them.

const NAME = /^[a-z0-9._\/-]{1,63}$/;
const MOST = 16;
const LONGEST_VALUE = 255;

/** Pairs of a name and a value; the value of a label without `=` is undefined. */
function pairsIn(text) {
  const written = text.split(",").map((pair) => pair.trim()).filter(Boolean);
  return written.map((pair) => {
    const [name, ...value] = pair.split("=");
    return [name.trim(), value.length ? value.join("=").trim() : undefined];
  });
}

/** The labels in a text that has no problem. */
export function labelsIn(text) {
  return Object.fromEntries(pairsIn(text));
}

/** What is wrong with the labels in a text and what to do, or an empty text. */
export function problemOfLabels(text) {
  const pairs = pairsIn(text);
  if (pairs.length > MOST) return `These are ${pairs.length} labels: give ${MOST} at most.`;
  const names = new Set();
  for (const [name, value] of pairs) {
    if (value === undefined) return `“${name}” is not a label. A label is KEY=VALUE, such as team=vision.`;
    if (name === "") return `“=${value}” has no name: write a label like team=vision.`;
    if (!NAME.test(name)) {
      return `“${name}” is no name of a label: use lowercase letters, digits and . _ / -, 63 characters at most.`;
    }
    if (names.has(name)) return `“${name}” is there twice: give each label one value.`;
    const { length } = [...value];
    if (length > LONGEST_VALUE) return `The value of “${name}” has ${length} characters: use ${LONGEST_VALUE} at most.`;
    names.add(name);
  }
  return "";
}
