"use strict";

// Nothing here parses HTML. Strings reach the document through append(), which makes them text.
const STEP = 50;
const find = (id) => document.getElementById(id);
const rows = JSON.parse(find("data").textContent);
const form = find("filters");
const list = find("list");
const more = find("more");
const number = new Intl.NumberFormat("en");
const kindNames = Object.fromEntries(
  [...form.elements.kind.options].map((option) => [option.value, option.text]),
);

let matching = []; // the rows that pass the filters
let onlyId = null; // the one sentence that the hash asks for

function normalize(text) {
  return text.normalize("NFKC").toLowerCase();
}

function element(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

// "PS 0.93 wrong label", or less.
function describeEntity(label, confidence, error) {
  return [label, confidence?.toFixed(2), error].filter(Boolean).join(" ");
}

function markEntity(text, label, error, confidence) {
  const note = element("small", { lang: "en" }, describeEntity(label, confidence, error));
  return element("mark", { class: error ? "off" : "", "data-label": label }, text, note);
}

function markSentence(sentence, entities) {
  // Python counts code points, so the sentence is split into these.
  const characters = [...sentence];
  const line = element("p", { class: "line", lang: "ko" });
  let position = 0;
  for (const [label, first, end, error, confidence] of entities) {
    const start = Math.max(first, position);
    line.append(
      characters.slice(position, start).join(""),
      markEntity(characters.slice(start, end).join(""), label, error, confidence),
    );
    position = end;
  }
  line.append(characters.slice(position).join(""));
  return line;
}

// The lines about an answer, if there is one.
function showAnswer(row) {
  if (row.answer === undefined) return [];
  return [
    element("b", {}, "answer"),
    element("pre", { lang: "ko" }, row.answer || "(empty)"),
    element("b", {}, "diagnosis"),
    describeAnswer(row),
  ];
}

function describeAnswer(row) {
  const line = element("p", { class: "line small" }, row.read);
  line.append(row.stopped ? "" : ", reached the token limit", ` · ${row.placed} placed`);
  for (const [description, mentions] of row.notes) {
    line.append(` · ${description}: `);
    mentions.forEach(([label, text, confidence], index) => {
      const note = ` ${describeEntity(label, confidence)}`;
      line.append(index ? ", " : "", element("q", { lang: "ko" }, text), note);
    });
  }
  return line;
}

function showRow(row) {
  const kinds = [...new Set(row.errors.map(([kind]) => kind))];
  const link = "#" + new URLSearchParams({ id: row.id });
  return element(
    "li",
    { tabindex: -1 },
    element(
      "p",
      { class: "top" },
      element("a", { href: link }, `#${row.id}`),
      element(
        "span",
        { class: row.right ? "verdict" : "verdict wrong" },
        row.right ? "✓ right" : "✗ wrong",
      ),
      element("span", { class: "quiet" }, kinds.map((kind) => kindNames[kind]).join(", ")),
    ),
    element("b", {}, "gold"),
    markSentence(row.sentence, row.gold),
    element("b", {}, "predicted"),
    markSentence(row.sentence, row.predicted),
    ...showAnswer(row),
  );
}

function showMore() {
  const shown = list.childElementCount;
  const next = matching.slice(shown, shown + STEP).map(showRow);
  list.append(...next);
  const left = matching.length - list.childElementCount;
  more.hidden = !left;
  more.textContent = `Show ${number.format(Math.min(STEP, left))} more of ${number.format(left)}`;
  return next[0];
}

// A label filter is "" for any, a label such as "PS", or a confused pair such as "PS>OG".
function involves([, gold, predicted], label) {
  const [first, second] = label.split(">");
  if (second) return gold === first && predicted === second;
  const isAboutAnswer = !gold && !predicted;
  return !label || isAboutAnswer || gold === label || predicted === label;
}

function matches(row, { show, label, kind, q }) {
  if (onlyId !== null) return String(row.id) === onlyId;
  if (show && row.right !== (show === "right")) return false;
  const isPair = label.includes(">");
  const errors = row.errors.filter(
    (error) => (!kind || error[0] === kind) && involves(error, label),
  );
  if ((kind || isPair) && !errors.length) return false;
  if (label && !isPair && !row.labels.includes(label)) return false;
  row.searchText ??= normalize(row.sentence + "\n" + (row.answer ?? ""));
  return row.searchText.includes(normalize(q));
}

function applyFilters() {
  const filters = Object.fromEntries(new FormData(form));
  matching = rows.filter((row) => matches(row, filters));
  const total = number.format(rows.length);
  find("count").textContent = `${number.format(matching.length)} of ${total} sentences`;
  list.replaceChildren();
  showMore();
}

// Sets the filters from the address. Returns false if its hash holds none.
function readHash() {
  if (!location.hash.includes("=")) return false;
  const filters = new URLSearchParams(location.hash.slice(1));
  for (const field of form.querySelectorAll("select, input")) {
    field.value = filters.get(field.name) ?? "";
  }
  for (const field of form.querySelectorAll("select")) {
    // The address named an option that does not exist.
    if (field.selectedIndex < 0) field.value = "";
  }
  onlyId = filters.get("id");
  return true;
}

function writeHash() {
  onlyId = null;
  const filters = [...new FormData(form)].filter(([, value]) => value);
  history.replaceState(null, "", "#" + new URLSearchParams(filters));
  applyFilters();
}

function goToSentences() {
  if (!readHash()) return;
  applyFilters();
  find("sentences").scrollIntoView();
  find("heading").focus({ preventScroll: true });
}

form.addEventListener("input", writeHash);
form.addEventListener("submit", (event) => event.preventDefault());
find("clear").addEventListener("click", () => {
  form.reset();
  writeHash();
});
more.addEventListener("click", () => showMore()?.focus());
addEventListener("hashchange", goToSentences);
// A second click on the same link does not change the hash.
addEventListener("click", (event) => {
  const link = event.target.closest("a")?.getAttribute("href");
  if (link === location.hash) goToSentences();
});

applyFilters();
goToSentences();
