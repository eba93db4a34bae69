// Loss curves and log of a job: all events so far, then new ones as they arrive.

const PAGE = 5000;
const job = () => document.getElementById("job");
const address = `/jobs/${job().dataset.job}/events`;
const section = document.getElementById("curve");
const log = document.getElementById("events");
const curves = new Map();
let last = 0;

/** Each phase has a separate chart, because their losses are different quantities. */
function chartOf(phase) {
  if (curves.has(phase)) return curves.get(phase);
  const holder = document.createElement("div");
  holder.className = "chart";
  holder.setAttribute("role", "img");
  section.querySelector(".charts").append(holder);
  section.hidden = false;
  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name);
  const thin = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--quiet"), grid: thin, ticks: thin };
  const plot = new uPlot(
    {
      title: phase,
      width: holder.clientWidth - 16,
      height: 260,
      scales: { x: { time: false }, y: { distr: 3 } },
      axes: [{ ...axis, label: "step" }, { ...axis, label: "loss", size: 70 }],
      series: [{ label: "step" }, { label: "loss", stroke: colour("--accent"), width: 2 }],
    },
    [[], []],
    holder,
  );
  new ResizeObserver(() => plot.setSize({ width: holder.clientWidth - 16, height: 260 })).observe(holder);
  const curve = { plot, holder, steps: [], losses: [] };
  curves.set(phase, curve);
  return curve;
}

function addPoint({ phase, step, loss }) {
  if (loss === null || loss === undefined || loss <= 0) return null;
  const curve = chartOf(phase);
  // An attempt that resumes from a snapshot repeats some steps.
  while (curve.steps.length && curve.steps.at(-1) >= step) {
    curve.steps.pop();
    curve.losses.pop();
  }
  curve.steps.push(step);
  curve.losses.push(loss);
  return curve;
}

function addLine(event) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = event.time;
  // The server writes times of this page in the same way.
  time.textContent = `${new Date(event.time).toISOString().slice(0, 19).replace("T", " ")} UTC`;
  item.append(time, wordsOf(event));
  log.append(item);
}

function wordsOf({ kind, data }) {
  const { attempt, reason, message } = data ?? {};
  const more = [attempt ? `attempt ${attempt}` : null, reason, message].filter(Boolean).join(", ");
  return more ? `${kind}: ${more}` : kind;
}

function take(events) {
  const changed = new Set();
  for (const event of events) {
    if (event.number <= last) continue;
    last = event.number;
    if (event.kind === "progress") changed.add(addPoint(event.data));
    else addLine(event);
  }
  changed.delete(null);
  for (const { plot, holder, steps, losses } of changed) {
    plot.setData([steps, losses]);
    holder.setAttribute("aria-label", `Loss against steps: ${losses.at(-1).toPrecision(3)} after ${steps.at(-1)} steps`);
  }
}

async function takeAll() {
  for (;;) {
    const answer = await fetch(`${address}?after=${last}&limit=${PAGE}`);
    if (!answer.ok) return;
    const { items } = await answer.json();
    take(items);
    if (items.length < PAGE) return;
  }
}

// True after the job was deleted: then it has no events to fetch.
let isGone = false;

/** Take what there is; what cannot be had now is taken the next time. */
const takeNew = async () => {
  if (!isGone) await takeAll().catch(() => {});
};

/** Say that the job was deleted, and ask for it no more: this element has nothing that asks. */
function showThatItIsGone() {
  isGone = true;
  const gone = document.createElement("div");
  gone.id = "job";
  gone.dataset.ended = "yes";
  gone.className = "state";
  const sentence = document.createElement("p");
  sentence.setAttribute("role", "alert");
  gone.append(sentence);
  job().replaceWith(gone);
  sentence.textContent = "This job no longer exists.";
}

// Before the listener of all pages, which would show the service's sentence and go on.
document.addEventListener(
  "htmx:responseError",
  (event) => {
    if (event.target !== job() || event.detail.xhr.status !== 404) return;
    event.stopPropagation();
    document.getElementById("alert").textContent = "";
    showThatItIsGone();
  },
  true,
);

await takeNew();
while (job().dataset.ended === "no") {
  await new Promise((done) => setTimeout(done, 1000));
  await takeNew();
}
await takeNew();
// The report is available after the job's end.
if (!document.querySelector(".report") && document.getElementById("get-report.html")) location.reload();
