"use strict";

const byId = (id) => document.getElementById(id);
const maxBytes = Number(document.body.dataset.maxBytes);
const atOnce = 4; // the server answers one at a time; more would only hold places in its queue
const patience = 60; // tries while it is busy
const shown = { item: null };
const waiting = [];
let running = 0;

function make(tag, words, className) {
  const element = document.createElement(tag);
  if (words !== undefined) element.textContent = words;
  if (className) element.className = className;
  element.dir = "auto";
  return element;
}

function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return value < 100 && value > 99.9 ? "> 99.9 %" : `${value.toFixed(1)} %`;
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Ask the server; while it is busy, wait as long as it says and ask again.
async function ask(path, file) {
  if (file.size > maxBytes) {
    throw new Error(`This file is too large: at most ${document.body.dataset.megabytes} MB are read. Make the picture smaller.`);
  }
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch(path, { method: "POST", body: file });
    } catch {
      throw new Error("No answer came: is `picturebook serve` still running, and the file still there?");
    }
    const answer = await response.json().catch(() => ({ error: `The server answered with status ${response.status}.` }));
    if (response.ok) return answer;
    if (response.status !== 503 || attempt === patience) throw new Error(answer.error);
    await pause((Number(response.headers.get("Retry-After")) || 1) * (0.5 + Math.random()));
  }
}

function add(files) {
  const items = [...files].map((file) => ({ file, name: file.name || "pasted picture", url: URL.createObjectURL(file) }));
  for (const item of items) {
    item.entry = byId("entries").appendChild(makeEntry(item));
    waiting.push(item);
  }
  byId("tray").hidden = byId("entries").children.length < 2;
  if (items.length) show(items[0]);
  while (running < atOnce && waiting.length) work();
}

async function work() {
  running++;
  for (let item = waiting.shift(); item; item = waiting.shift()) {
    try {
      item.answer = await ask("/api/predict", item.file);
    } catch (error) {
      item.problem = error.message;
    }
    fillEntry(item);
    if (shown.item === item) show(item);
  }
  running--;
}

function makeEntry(item) {
  const entry = make("li");
  const button = entry.appendChild(make("button"));
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  const picture = button.appendChild(make("img"));
  picture.alt = "";
  picture.src = item.url;
  picture.onerror = () => { picture.onerror = null; picture.removeAttribute("src"); };
  const words = button.appendChild(make("span"));
  words.append(make("b", "waiting …"), make("b", ""), make("span", item.name, "soft"));
  button.addEventListener("click", () => show(item));
  return entry;
}

function fillEntry(item) {
  const best = item.answer && item.answer.classes[0];
  const [name, share] = item.entry.querySelectorAll("b");
  name.textContent = best ? best.name : "no answer";
  share.textContent = best ? percent(best.probability) : "";
  item.entry.classList.toggle("wrong", !best);
  if (best) item.entry.querySelector("img").src = item.answer.seen;
}

function show(item) {
  shown.item = item;
  for (const entry of byId("entries").children) {
    entry.firstChild.setAttribute("aria-pressed", String(entry === item.entry));
  }
  showPicture(item);
  const { answer, problem } = item;
  byId("waiting").hidden = Boolean(answer || problem);
  byId("waiting").textContent = "Looking …";
  byId("problem").textContent = problem || "";
  byId("classes").replaceChildren(...(answer ? answer.classes.map(classRow) : []));
  byId("seen").hidden = !answer;
  if (answer) byId("seen").querySelector("img").src = answer.seen;
  showLooks(answer);
  if (byId("near")) byId("near").replaceChildren(...(answer ? answer.neighbours.map(neighbour) : []));
  const best = answer && answer.classes[0];
  byId("status").textContent = best ? `${item.name}: ${best.name}, ${percent(best.probability)}` : "";
  if (byId("looked")) {
    byId("looked").hidden = true;
    byId("words-problem").textContent = "";
  }
}

// Where the model looked for its first answer, or why that is not shown.
function showLooks(answer) {
  byId("looks").hidden = !(answer && answer.looks.overlay);
  byId("no-looks").textContent = answer ? answer.looks.problem : "";
  if (byId("looks").hidden) return;
  const said = `For “${answer.classes[0].name}” the model looks ${place(answer.looks.weights)} the picture`;
  byId("looks").querySelector("img").src = answer.looks.overlay;
  byId("looks").querySelector("img").alt = `Map: ${said}`;
  byId("looks-words").textContent = `${said}.`;
}

function showPicture(item) {
  const picture = byId("picture");
  byId("drop").classList.add("full");
  byId("invitation").querySelector("strong").textContent = "Choose another picture";
  picture.alt = item.name;
  // Some formats are read by the server and not by the browser: then what the model sees takes the picture's place.
  picture.onerror = () => {
    picture.onerror = null;
    if (item.answer) picture.src = item.answer.seen;
    else picture.hidden = true;
  };
  picture.hidden = false;
  if (picture.src !== item.url) picture.src = item.url;
}

function classRow({ name, probability }) {
  const row = make("li");
  const bar = make("span", "", "bar");
  bar.setAttribute("aria-hidden", "true");
  bar.appendChild(make("i")).style.width = `${100 * probability}%`;
  row.append(make("span", name), make("span", percent(probability)), bar);
  return row;
}

function neighbour({ name, label, similarity, thumbnail }) {
  const entry = make("li");
  const picture = entry.appendChild(make("img"));
  picture.src = thumbnail;
  picture.alt = `Training picture ${name}`;
  const words = entry.appendChild(make("div"));
  words.append(make("b", label === null ? "no label" : label), make("span", `alike: ${similarity.toFixed(2)}`, "soft"));
  entry.title = name;
  return entry;
}

// In which ninth of the picture the map is strongest, for those who do not see it.
function place(weights) {
  const all = weights.flat();
  if (Math.max(...all) * all.length < 1.5) return "nearly everywhere alike in";
  const row = weights.findIndex((line) => Math.max(...line) === Math.max(...all));
  const column = weights[row].indexOf(Math.max(...all));
  const best = [Math.floor((3 * (row + 0.5)) / weights.length), Math.floor((3 * (column + 0.5)) / weights[row].length)];
  const [up, across] = [["top", "middle", "bottom"][best[0]], ["left", "middle", "right"][best[1]]];
  return `most ${up === across ? "in the middle" : `at the ${up} ${across}`} of`;
}

async function look(event) {
  event.preventDefault();
  const { item } = shown;
  const button = byId("words").querySelector("button");
  byId("words-problem").textContent = "";
  if (!item) {
    byId("words-problem").textContent = "Choose a picture first: the words need something to look at.";
    return;
  }
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    const found = await ask(`/api/words?words=${encodeURIComponent(byId("typed").value)}`, item.file);
    if (shown.item !== item) return;
    byId("plain").src = item.answer ? item.answer.seen : item.url;
    byId("overlay").src = found.overlay;
    byId("overlay").alt = `Map: the words “${found.words}” look ${place(found.weights)} the picture`;
    byId("looked-words").textContent = `“${found.words}” looks ${place(found.weights)} the picture.`;
    byId("looked").hidden = false;
    byId("status").textContent = byId("overlay").alt;
  } catch (error) {
    byId("words-problem").textContent = error.message;
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
byId("file").addEventListener("change", () => {
  add(byId("file").files);
  byId("file").value = ""; // the same file may be chosen again
});
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  byId("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  byId("drop").classList.remove("over");
  if (!hasFiles(event)) return;
  event.preventDefault();
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});
if (byId("words")) byId("words").addEventListener("submit", look);
for (const element of document.querySelectorAll(".origin")) element.textContent = location.origin;
