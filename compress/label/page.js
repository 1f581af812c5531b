// Labels one item after the other. All text reaches the page by textContent: names from the field are data, never markup.
"use strict";
const $ = (id) => document.getElementById(id);
const csrf = document.querySelector("meta[name=csrf]").content;
const COLOURS = ["#0b77c2", "#c2410c", "#15803d", "#9333ea", "#b45309", "#0f766e", "#be123c", "#4d7c0f"];
let state, at = 0;
const history = [];

function element(name, attributes, ...children) {
  const svg = ["svg", "polyline", "title"].includes(name);
  const out = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) out.setAttribute(key, value);
  out.append(...children);
  return out;
}

function say(text, bad) {
  $("message").textContent = text;
  $("message").className = bad ? "bad" : "";
}

const item = () => state.items[at];
const percent = (share) => `${(100 * share).toFixed(1)} %`;
// Classes that are digits themselves go by their own key; others by their place, the tenth by 0.
const ownKeys = () => state.labels.every((label) => /^[0-9]$/.test(label));
const keyOf = (index) => (ownKeys() ? state.labels[index] : index < 10 ? String((index + 1) % 10) : "");

async function stage() {
  const shown = item(), box = $("stage");
  if (shown.shown === "text") box.replaceChildren(element("p", { class: "text" }, shown.text));
  else if (shown.shown === "image") {
    const picture = element("img", { src: `view/${encodeURIComponent(shown.id)}`, alt: `Input ${at + 1}` });
    picture.addEventListener("error", () => box.replaceChildren(element("p", {}, "The picture cannot be shown.")));
    box.replaceChildren(picture);
  } else if (shown.shown === "nothing") box.replaceChildren(element("p", {}, "Only features were kept of this input."));
  else await readings(shown, box);
}

async function readings(shown, box) {
  const answer = await fetch(`view/${encodeURIComponent(shown.id)}`);
  const columns = await answer.json();
  if (item() !== shown) return;
  if (!answer.ok) return box.replaceChildren(element("p", {}, columns.error));
  const all = columns.flat(), low = Math.min(...all), high = Math.max(...all), span = high - low || 1;
  const lines = columns.map((column, c) => element("polyline", {
    points: column.map((v, i) => `${(600 * i / Math.max(1, column.length - 1)).toFixed(1)},${(290 - 280 * (v - low) / span).toFixed(1)}`).join(" "),
    stroke: COLOURS[c % COLOURS.length],
  }));
  const about = `Readings of ${columns.length} channels from ${low.toPrecision(3)} to ${high.toPrecision(3)}`;
  box.replaceChildren(element("svg", { viewBox: "0 0 600 300", role: "img", "aria-label": about }, ...lines));
}

function classes() {
  const wanted = $("filter").value.trim().toLowerCase();
  const buttons = state.labels.map((label, index) => [label, index]).filter(([label]) => label.toLowerCase().includes(wanted));
  $("classes").replaceChildren(...buttons.slice(0, 200).map(([label, index]) => {
    const key = keyOf(index);
    const button = element("button", { "aria-pressed": String(item().label === label) });
    if (key) { button.append(element("kbd", {}, key)); button.setAttribute("aria-keyshortcuts", key); }
    button.append(label);
    if (item().predicted === label) button.className = "predicted";
    button.addEventListener("click", () => assign(label));
    return button;
  }));
}

function draw() {
  const done = state.items.filter((i) => i.label !== null).length, total = state.items.length;
  $("bar").max = total;
  $("bar").value = done;
  $("count").textContent = `${done} of ${total} labelled, item ${at + 1}`;
  $("said").textContent = item().predicted === null ? "The model gave no class."
    : `The model says: ${item().predicted} (${percent(item().confidence)})`;
  $("now").textContent = item().label === null ? "" : `Label: ${item().label}`;
  $("previous").disabled = at === 0;
  $("next").disabled = at === total - 1;
  $("accept").disabled = item().predicted === null;
  $("undo").disabled = history.length === 0;
  $("clear").disabled = item().label === null;
  classes();
}

function go(to) {
  if (to < 0 || to >= state.items.length) return;
  at = to;
  draw();
  stage();
}

async function store(index, label) {
  const target = state.items[index];
  try {
    const answer = await fetch("label", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
      body: JSON.stringify({ id: target.id, label }),
    });
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({ error: `refused (${answer.status})`, fix: "reload the page" }));
      say(`Not saved: ${problem.error}. ${problem.fix}`, true);
      return false;
    }
  } catch {
    say("Not saved: `compress label` does not answer. Start it again and open its new address.", true);
    return false;
  }
  target.label = label;
  return true;
}

let busy = Promise.resolve(); // one decision after the other, however quick the fingers
function assign(label) {
  busy = busy.then(async () => {
    const index = at, before = item().label;
    if (!(await store(index, label))) return;
    history.push([index, before]);
    say(label === null ? `Item ${index + 1}: label taken back` : `Item ${index + 1}: ${label}`);
    if (label !== null && index < state.items.length - 1) go(index + 1);
    else draw();
    if (state.items.every((i) => i.label !== null)) say("All items have a label. Stop `compress label` with Ctrl-C.");
  });
  return busy;
}

function undo() {
  busy = busy.then(async () => {
    const last = history.pop();
    if (!last) return;
    if (!(await store(last[0], last[1]))) { history.push(last); return; }
    say(`Item ${last[0] + 1}: undone`);
    go(last[0]);
  });
}

function nextOpen() {
  const after = [...state.items.keys()].map((i) => (at + 1 + i) % state.items.length);
  const found = after.find((i) => state.items[i].label === null);
  if (found === undefined) say("Every item has a label.");
  else go(found);
}

const ACTIONS = {
  ArrowLeft: () => go(at - 1), ArrowRight: () => go(at + 1), u: undo, n: nextOpen,
  x: () => item().label !== null && assign(null),
  Enter: () => item().predicted !== null && assign(item().predicted),
  "/": () => !$("filter").hidden && $("filter").focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !state) return;
  if (event.target === $("filter")) {
    if (event.key === "Escape") { $("filter").value = ""; classes(); $("stage").focus(); }
    if (event.key === "Enter") $("classes").querySelector("button")?.click();
    return;
  }
  if (event.key === "Enter" && event.target.tagName === "BUTTON") return; // Enter presses the button it is on
  const pressed = /^[0-9]$/.test(event.key) ? state.labels.findIndex((_, index) => keyOf(index) === event.key) : -1;
  if (pressed >= 0) { event.preventDefault(); assign(state.labels[pressed]); return; }
  const action = ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) { event.preventDefault(); action(); }
});

$("previous").addEventListener("click", () => go(at - 1));
$("next").addEventListener("click", () => go(at + 1));
$("accept").addEventListener("click", () => assign(item().predicted));
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", () => assign(null));
$("open").addEventListener("click", nextOpen);
$("filter").addEventListener("input", classes);

(async () => {
  const answer = await fetch("state");
  const found = await answer.json();
  if (!answer.ok) return say(`${found.error}. ${found.fix}`, true);
  state = found;
  $("name").textContent = `Label ${state.name}`.trim();
  document.title = $("name").textContent;
  $("filter").hidden = state.labels.length <= 10;
  const first = state.items.findIndex((i) => i.label === null);
  go(Math.max(first, 0));
  $("stage").focus();
})();
