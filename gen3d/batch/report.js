"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 200;  // rows at once: more make a browser slow, and nobody reads them
const number = digits => value => value === null ? "" : value.toFixed(digits);
const duration = value => {
  if (value === null) return "";
  const seconds = Math.round(value), rest = String(seconds % 60).padStart(2, "0");
  return seconds < 3600 ? `${Math.floor(seconds / 60)}:${rest}`
    : `${Math.floor(seconds / 3600)}:${String(Math.floor(seconds / 60) % 60).padStart(2, "0")}:${rest}`;
};
// Name of the value in a row, heading, how it is written; numbers are to the right. Values of rows lie at these places.
const COLUMNS = [
  ["number", "No.", number(0)], ["prompt", "Prompt"], ["configuration", "Configuration"], ["seed", "Seed", String],
  ["state", "State"], ["rank", "Rank", number(0)], ["clip", "CLIP score", number(3)], ["janus", "Janus", number(2)],
  ["seconds", "Time", duration], ["memory", "Memory, MB", value => value === null ? "" : (value / 1e6).toFixed(0)],
  ["faces", "Triangles", number(0)],
];
const place = Object.fromEntries(data.columns.map((name, index) => [name, index]));
const of = (row, name) => {
  const value = row[place[name]];
  return name === "configuration" ? data.configurations[value] : name === "state" ? data.states[value] : value;
};
const element = id => document.getElementById(id);
const make = (tag, more = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), more);
  made.append(...children);
  return made;
};
const order = { by: "number", falling: false };
let rows = data.jobs, page = 0;

function compare(one, other) {
  const a = of(one, order.by), b = of(other, order.by);
  if (a === b) return of(one, "number") - of(other, "number");
  if (a === null || b === null) return a === null ? 1 : -1;  // what was not measured comes last, both ways
  // Seeds are texts of digits, as a number would lose some of them: the longer one is the larger.
  const longer = order.by === "seed" ? a.length - b.length : 0;
  const rising = typeof a === "number" ? a - b : longer || (a < b ? -1 : 1);
  return order.falling ? -rising : rising;
}

function find() {
  const words = element("words").value.trim().toLowerCase();
  const state = element("state").value, configuration = element("configuration").value;
  rows = data.jobs.filter(row =>
    (!state || row[place.state] === +state) && (!configuration || row[place.configuration] === +configuration) &&
    (!words || (of(row, "prompt") + " " + of(row, "sentence")).toLowerCase().includes(words)));
  rows.sort(compare);
  page = 0;
  draw();
}

function picture(row) {
  const folder = of(row, "folder"), files = of(row, "files");
  if (folder === null || !(files & 1)) return make("span", { className: "none" });
  const link = make("a", { className: "picture", href: folder + (files & 4 ? "/viewer.html" : "/preview.png") });
  const still = make("img", { src: folder + "/preview.png", loading: "lazy", decoding: "async", alt: of(row, "prompt") });
  link.append(still);
  if (files & 2) {
    const play = () => {
      if (link.querySelector("video") || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
      const video = make("video", { muted: true, loop: true, autoplay: true, playsInline: true });
      video.setAttribute("aria-label", "Turntable of " + of(row, "prompt"));
      video.addEventListener("loadeddata", () => { still.hidden = true; });
      video.addEventListener("error", stop);
      video.src = folder + "/turntable.mp4";
      link.prepend(video);
    };
    const stop = () => {
      link.querySelector("video")?.remove();
      still.hidden = false;
    };
    link.addEventListener("mouseenter", play);
    link.addEventListener("focus", play);
    link.addEventListener("mouseleave", stop);
    link.addEventListener("blur", stop);
  }
  return link;
}

function line(row) {
  const state = of(row, "state");
  const made = make("tr", {}, make("td", {}, picture(row)));
  for (const [name, , written] of COLUMNS) {
    const value = of(row, name);
    const cell = make("td", { className: written ? "number" : name === "state" ? state : "" });
    if (name === "rank" && value !== null && of(row, "of") !== null) cell.append(`${value} of ${of(row, "of")}`);
    else cell.append(written ? written(value) : value);
    if (name === "prompt") {
      if (of(row, "sentence")) cell.append(make("div", { className: "sentence " + state }, of(row, "sentence")));
      if (of(row, "address")) cell.append(make("div", { className: "sentence" }, of(row, "address")));
    }
    made.append(cell);
  }
  return made;
}

function draw() {
  const pages = Math.max(Math.ceil(rows.length / PAGE), 1);
  page = Math.min(page, pages - 1);
  element("jobs").tBodies[0].replaceChildren(...rows.slice(page * PAGE, (page + 1) * PAGE).map(line));
  element("found").textContent = `${rows.length} of ${data.jobs.length} jobs`;
  element("page").textContent = `Page ${page + 1} of ${pages}`;
  element("before").disabled = page === 0;
  element("after").disabled = page === pages - 1;
}

function heads() {
  const head = element("jobs").tHead.rows[0];
  head.append(make("th", { scope: "col" }, "Asset"));
  for (const [name, title, written] of COLUMNS) {
    const button = make("button", { type: "button", id: "by-" + name }, title);
    const cell = make("th", { scope: "col", className: written ? "number" : "" }, button);
    button.addEventListener("click", () => {
      order.falling = order.by === name && !order.falling;
      order.by = name;
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", order.falling ? "descending" : "ascending");
      find();
    });
    if (name === order.by) cell.setAttribute("aria-sort", "ascending");
    head.append(cell);
  }
}

data.states.forEach((name, index) => element("state").append(make("option", { value: index }, name)));
data.configurations.forEach((name, index) => element("configuration").append(make("option", { value: index }, name)));
heads();
element("filters").addEventListener("submit", event => event.preventDefault());
element("words").addEventListener("input", find);
element("state").addEventListener("change", find);
element("configuration").addEventListener("change", find);
element("before").addEventListener("click", () => { page -= 1; draw(); });
element("after").addEventListener("click", () => { page += 1; draw(); });
find();
