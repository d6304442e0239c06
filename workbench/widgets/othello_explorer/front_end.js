// The page of the Othello explorer. The kernel draws: each part of the page is HTML with SVG in it, and what can be clicked there
// says which step it takes (data-step, data-arguments). Here are the controls, the keyboard, and the sending of steps.

const LATEST_ONLY = new Set(["show", "strength", "edit_at"]); // of slider moves only the newest matters
const PATIENCE = 10000; // ms until it is said that no answer came
const NO_ANSWER =
  "No answer yet. Either the kernel is busy, and answers when it is free, or there is none, and this is a still picture: " +
  "run the cell to bring it to life.";

const HELP =
  "Tab reaches every control and picture; arrow keys move over squares, moves, heads and lengths; Enter or Space clicks. " +
  "On the board: Backspace takes back a move, Shift+Backspace plays it again.";

function render({ model, el }) {
  const root = make("div", { class: "othello-explorer", "data-lm-suppress-shortcuts": "true" });
  root.addEventListener("keydown", (event) => event.stopPropagation()); // the notebook would take the arrows
  const sender = makeSender(model, (words) => showWords(root, words, true));
  const { page, updates } = buildPage(model, sender.send);
  root.append(page);
  el.append(root);
  const places = [...root.querySelectorAll("[data-place]")];
  places.forEach((place) => listen(place, sender.send));
  const drawn = places.map((place) => [`change:${place.dataset.place}`, () => redraw(place, model.get(place.dataset.place))]);
  const update = () => updates.forEach((one) => one(model.get("controls")));
  const tell = () => showStatus(root, model.get("status"));
  const listeners = [...drawn, ["change:controls", update], ["change:status", tell], ["change:answered", tell], ["change:answered", sender.answered]];
  listeners.forEach(([event, listener]) => model.on(event, listener));
  drawn.forEach(([, draw]) => draw());
  update();
  tell();
  return () => listeners.forEach(([event, listener]) => model.off(event, listener));
}

// ---------------------------------------------------------------- sending

function makeSender(model, complain) {
  let number = model.get("answered");
  let sent = number;
  let next = null;
  let timer = null;

  function now(step, args, buffers) {
    number = Math.max(number, model.get("answered")) + 1;
    sent = number;
    model.send({ step, arguments: args, number }, undefined, buffers);
    clearTimeout(timer);
    timer = setTimeout(() => complain(NO_ANSWER), PATIENCE);
  }
  function send(step, args = {}, buffers = []) {
    if (LATEST_ONLY.has(step) && sent > model.get("answered")) next = [step, args, buffers];
    else now(step, args, buffers);
  }
  function answered() {
    if (model.get("answered") < sent) return;
    clearTimeout(timer);
    if (next) {
      const [step, args, buffers] = next;
      next = null;
      now(step, args, buffers);
    }
  }
  return { send, answered };
}

// ---------------------------------------------------------------- pictures: drawing, clicking, arrow keys

function redraw(place, html) {
  const active = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  place.innerHTML = html;
  place.querySelectorAll(".oe-grid").forEach((grid) => {
    const first = ["[data-chosen]", "[data-step]", ".oe-at"].map((wanted) => grid.querySelector(wanted)).find((cell) => cell);
    first?.setAttribute("tabindex", "0"); // the others are reached by arrow keys
  });
  if (active !== undefined) focusCell(place.querySelector(`[data-key="${CSS.escape(active)}"]`));
}

function focusCell(cell) {
  if (!cell) return;
  cell.closest(".oe-grid").querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
  cell.setAttribute("tabindex", "0");
  cell.focus({ preventScroll: true });
}

function listen(place, send) {
  let pressed;
  place.addEventListener("pointerdown", (event) => {
    pressed = event.button === 0 ? nameOf(event.target.closest(".oe-at")) : undefined;
  });
  place.addEventListener("pointerup", (event) => {
    const cell = event.target.closest(".oe-at");
    if (cell && nameOf(cell) === pressed) take(cell, send);
    pressed = undefined;
  });
  place.addEventListener("click", (event) => {
    if (event.detail === 0) take(event.target.closest(".oe-at"), send); // of no pointer, but say a screen reader
  });
  place.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".oe-at");
    if (!cell) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in moves) focusCell(neighbour(cell, ...moves[event.key]));
    else if (event.key === "Enter" || event.key === " ") take(cell, send);
    else if (event.key === "Backspace" && place.dataset.place === "boards") send(event.shiftKey ? "redo" : "undo");
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/** By which a cell is known again where it was drawn anew between press and release: no click comes of that. */
function nameOf(cell) {
  return cell ? JSON.stringify([cell.dataset.key, cell.dataset.step, cell.dataset.arguments]) : undefined;
}

function take(cell, send) {
  if (!cell) return;
  focusCell(cell);
  if (cell.dataset.step) send(cell.dataset.step, JSON.parse(cell.dataset.arguments));
}

/** The nearest cell of the same grid in a direction; in a row or column of its own where there is one. */
function neighbour(cell, down, right) {
  const at = (one) => [Number(one.dataset.row), Number(one.dataset.column)];
  const [row, column] = at(cell);
  const ahead = [...cell.closest(".oe-grid").querySelectorAll(".oe-at")]
    .map((one) => [one, (at(one)[0] - row) * down + (at(one)[1] - column) * right, Math.abs(down ? at(one)[1] - column : at(one)[0] - row)])
    .filter(([, distance]) => distance > 0)
    .sort((one, other) => one[2] - other[2] || one[1] - other[1]);
  return ahead.length ? ahead[0][0] : null;
}

// ---------------------------------------------------------------- controls

function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...content);
  return element;
}

function makeButton(words, title, act) {
  const button = make("button", { type: "button", title }, words);
  button.addEventListener("click", act);
  return button;
}

function makeSelect(label, act) {
  const select = make("select", { "aria-label": label });
  select.addEventListener("change", () => act(select.value));
  return { node: make("label", { class: "oe-field" }, make("span", {}, label), select), select };
}

function fill(select, options, value) {
  const wanted = JSON.stringify(options);
  if (select.dataset.options !== wanted) {
    select.replaceChildren(...options.map(([key, words]) => make("option", { value: key }, words)));
    select.dataset.options = wanted;
  }
  select.value = value;
}

function makeSlider(label, range, act) {
  const slider = make("input", { type: "range", "aria-label": label, ...range });
  const shown = make("output");
  slider.addEventListener("input", () => {
    shown.value = slider.value;
    act(Number(slider.value));
  });
  const set = (value) => {
    if (document.activeElement !== slider || Math.abs(slider.value - value) > 1) slider.value = value;
    shown.value = slider.value;
  };
  return { node: make("label", { class: "oe-slider" }, make("span", {}, label), slider, shown), slider, set };
}

/** A select over one of the state's own choices. */
function makeChoice(label, name, send, words = {}) {
  const { node, select } = makeSelect(label, (value) => send("set", { [name]: value }));
  node.classList.add(`oe-${name}`);
  const update = (controls) =>
    fill(select, controls.choices[name].map((value) => [value, (words[value] ?? controls.measures[value]) ?? value]), controls.chosen[name]);
  return { node, select, update };
}

// ---------------------------------------------------------------- the page

function buildPage(model, send) {
  const parts = [buildModels(send), buildGame(send), buildStrength(send), buildEdits(send), buildPool(send)];
  const [models, game, strength, edits, pool] = parts;
  const tabs = buildTabs(send, { attention: strength.node, probe: edits.node, "many positions": pool.node });
  const measure = makeChoice("measure", "measure", send);
  const place = (name) => make("div", { "data-place": name, class: `oe-place-${name}` });
  const status = make("div", { class: "oe-status", role: "status", "aria-live": "polite" });
  const stop = makeButton("Stop", "end what is at work: a fit, a measurement, a game or a scan", () => send("stop"));
  const work = make("div", { class: "oe-work", hidden: "" }, make("progress", { max: 1, value: 0 }), stop);
  const board = make("div", {}, place("boards"), game.node);
  const list = make("div", {}, place("ranking"), status, work);
  const top = make("div", { class: "oe-top" }, board, list);
  models.node.append(measure.node);
  const page = make("div", {}, models.node, top, place("lengths"), tabs.node, place("panel"));
  return { page, updates: [...parts, tabs, measure].map((part) => part.update) };
}

function buildModels(send) {
  const model = makeSelect("model", (name) => send("model", { name }));
  model.node.classList.add("oe-model");
  const against = makeSelect("compare with", (name) => send("against", { name }));
  against.node.classList.add("oe-against");
  const view = makeChoice("boards", "view", send);
  const update = (controls) => {
    fill(model.select, controls.models.map((name) => [name, name]), controls.model);
    fill(against.select, controls.others.map((name) => [name, name]), controls.against);
    view.update(controls);
    view.select.disabled = !controls.compared;
  };
  return { node: make("div", { class: "oe-bar oe-models" }, model.node, against.node, view.node), update };
}

function buildGame(send) {
  const shown = makeSlider("moves", { min: 0, max: 60, step: 1 }, (moves) => send("show", { moves }));
  shown.node.classList.add("oe-shown");
  const undo = makeButton("◀ undo", "take back the last move (Backspace on the board)", () => send("undo"));
  const redo = makeButton("redo ▶", "play the next move of the game again", () => send("redo"));
  const fresh = makeButton("new game", "clear the board", () => send("new"));
  const uniform = makeButton("random", "a position of a uniformly random game", () => send("random", { by: "uniform" }));
  const drawn = makeButton("by the model", "a position of a game that the model plays with itself", () => send("random", { by: "model" }));
  const transcript = make("textarea", { rows: 2, "aria-label": "transcript", spellcheck: "false", placeholder: "f5d6c3 …" });
  const load = makeButton("load transcript", "play the moves in the box; an illegal one is refused", () =>
    send("transcript", { text: transcript.value })
  );
  const save = makeButton("export", "write what is shown as HTML and the data behind it as CSV, into a new folder of exports/", () => send("export"));
  const help = make("details", { class: "oe-help" }, make("summary", {}, "keys"), make("p", {}, HELP));
  const update = (controls) => {
    shown.slider.max = controls.moves;
    shown.set(controls.shown);
    undo.disabled = controls.shown === 0;
    redo.disabled = controls.shown === controls.moves;
    if (document.activeElement !== transcript) transcript.value = controls.transcript;
  };
  const rows = [[undo, redo, fresh, uniform, drawn], [transcript], [load, save, help]];
  const node = make("div", { class: "oe-game" }, shown.node, ...rows.map((row) => make("div", {}, ...row)));
  return { node, update };
}

function buildStrength(send) {
  const slider = makeSlider("strength", { min: -2, max: 3, step: 0.1 }, (value) => send("strength", { value }));
  slider.node.classList.add("oe-strength");
  const words = { flip: -1, remove: 0, clean: 1, double: 2 };
  const presets = Object.entries(words).map(([word, value]) => makeButton(word, `strength ${value}`, () => send("strength", { value })));
  const clean = makeButton("all clean", "set every strength to 1", () => send("all_clean"));
  const part = make("b");
  const update = (controls) => {
    part.textContent = controls.part;
    [slider.slider.min, slider.slider.max] = controls.strengths;
    slider.set(controls.strength);
    clean.disabled = controls.changed === 0;
  };
  return { node: make("div", { class: "oe-bar" }, part, slider.node, ...presets, clean), update };
}

function buildEdits(send) {
  const brush = makeChoice("a click will", "brush", send);
  const where = makeSelect("at layers", (value) => change({ layers: JSON.parse(value) }));
  const strength = makeSlider("strength", { min: 0.25, max: 4, step: 0.25 }, (value) => change({ strength: value }));
  const undo = makeButton("take all back", "no edits", () => send("no_edits"));
  let known = {};
  const change = (one) => send("edit_at", { layers: known.edit_layers, strength: known.edit_strength, ...one });
  const update = (controls) => {
    known = controls;
    brush.update(controls);
    const single = [...Array(controls.layers + 1).keys()].map((layer) => [layer]);
    const all = [controls.edit_layers, ...single.filter((one) => `${one}` !== `${controls.edit_layers}`), single.flat()];
    const named = (layers) => layers.map((layer) => (layer === 0 ? "embedding" : `after ${layer - 1}`)).join(", ");
    fill(where.select, all.map((layers) => [JSON.stringify(layers), named(layers)]), JSON.stringify(controls.edit_layers));
    strength.set(controls.edit_strength);
    undo.disabled = controls.edits === 0;
  };
  return { node: make("div", { class: "oe-bar" }, brush.node, where.node, strength.node, undo), update };
}

function buildPool(send) {
  const kind = make("span", { class: "oe-pool" });
  const random = makeButton("random games", "bundled random games that no training has seen", () => send("pool", { kind: "random" }));
  const game = makeButton("this game", "every position of the game on the board", () => send("pool", { kind: "game" }));
  const file = make("input", { type: "file", "aria-label": "file of games", accept: ".txt,.wtb,.csv" });
  file.addEventListener("change", async () => {
    if (file.files.length) send("pool", { kind: "file", name: file.files[0].name }, [await file.files[0].arrayBuffer()]);
  });
  const span = makeChoice("lengths", "span", send, { all: "all", trained: "as in training", beyond: "beyond training" });
  const about = makeChoice("ask about", "about", send);
  const scan = makeButton("Scan", "sum over all positions", () => send("scan"));
  scan.classList.add("oe-scan");
  const update = (controls) => {
    kind.textContent = controls.pool;
    span.update(controls);
    about.update(controls);
    [...about.select.options].forEach((option) => {
      if (option.value === "chosen move") option.textContent = controls.move ? `move ${controls.move}, where legal` : "chosen move";
    });
  };
  return { node: make("div", { class: "oe-bar" }, kind, random, game, file, span.node, about.node, scan), update };
}

function buildTabs(send, bars) {
  const list = make("div", { class: "oe-tabs", role: "tablist" });
  const node = make("div", {}, list, ...Object.values(bars));
  const update = (controls) => {
    const names = controls.choices.tab;
    if (list.children.length !== names.length)
      list.replaceChildren(...names.map((name) => makeTab(name, () => send("set", { tab: name }))));
    [...list.children].forEach((tab, at) => {
      const chosen = names[at] === controls.chosen.tab;
      tab.setAttribute("aria-selected", chosen);
      tab.setAttribute("tabindex", chosen ? 0 : -1);
    });
    Object.entries(bars).forEach(([name, bar]) => (bar.hidden = name !== controls.chosen.tab));
  };
  list.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const next = step && [...list.children][[...list.children].indexOf(document.activeElement) + step];
    if (next) next.focus();
  });
  return { node, update };
}

function makeTab(name, act) {
  const tab = makeButton(name, name, act);
  tab.setAttribute("role", "tab");
  return tab;
}

// ---------------------------------------------------------------- words

function showWords(root, words, error) {
  const line = root.querySelector(".oe-status");
  line.textContent = words;
  line.classList.toggle("oe-error", error);
}

function showStatus(root, status) {
  const { words = "", error = false, progress = { running: false, share: 0, words: "" } } = status;
  const told = make("span");
  told.innerHTML = progress.words; // escaped in the kernel
  showWords(root, words || told.textContent, error || (!words && told.querySelector(".error") !== null));
  root.querySelector(".oe-work").hidden = !progress.running;
  root.querySelector("progress").value = progress.share;
  root.querySelector(".oe-scan").disabled = progress.running;
}

export default late({ render }); // see late_page.py
