"use strict";
(function () {
  const items = Array.from(document.querySelectorAll("article"));
  const store = "labels-" + document.body.dataset.batch;
  let labels = {};
  let at = 0;
  let saved = true;

  // A page opened from a file may have no storage; then labels live until it is closed.
  try { labels = JSON.parse(localStorage.getItem(store)) || {}; } catch (error) { labels = {}; }

  function keep() {
    saved = false;
    try { localStorage.setItem(store, JSON.stringify(labels)); } catch (error) { /* see above */ }
  }

  function show(number) {
    at = Math.max(0, Math.min(items.length - 1, number));
    items.forEach(function (item, other) { item.hidden = other !== at; });
    const said = labels[items[at].id] || {};
    items[at].querySelectorAll("button[data-label]").forEach(function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.label === said.label));
    });
    items[at].querySelector("textarea").value = said.note || "";
    const done = items.filter(function (item) { return labels[item.id] && labels[item.id].label; }).length;
    document.getElementById("where").textContent = (at + 1) + " of " + items.length + ", " + done + " labelled";
    window.scrollTo(0, 0);
  }

  function choose(label) {
    const id = items[at].id;
    labels[id] = { label: label, note: items[at].querySelector("textarea").value };
    keep();
    show(at + 1);
  }

  items.forEach(function (item) {
    item.querySelectorAll("button[data-label]").forEach(function (button) {
      button.addEventListener("click", function () { choose(button.dataset.label); });
    });
    item.querySelector("textarea").addEventListener("input", function (event) {
      labels[item.id] = Object.assign({}, labels[item.id], { note: event.target.value });
      keep();
    });
  });

  document.getElementById("back").addEventListener("click", function () { show(at - 1); });
  document.getElementById("next").addEventListener("click", function () { show(at + 1); });
  document.getElementById("save").addEventListener("click", function () {
    const lines = items.filter(function (item) { return labels[item.id] && labels[item.id].label; })
      .map(function (item) {
        return JSON.stringify({ id: item.id, label: labels[item.id].label, note: labels[item.id].note || "" });
      });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.map(function (line) { return line + "\n"; }).join("")]));
    link.download = "labels.jsonl";
    link.click();
    saved = true;
  });

  document.addEventListener("keydown", function (event) {
    if (event.target.tagName === "TEXTAREA" || event.ctrlKey || event.altKey || event.metaKey) { return; }
    const buttons = items[at].querySelectorAll("button[data-label]");
    const number = Number(event.key);
    if (number >= 1 && number <= buttons.length) { choose(buttons[number - 1].dataset.label); }
    if (event.key === "ArrowLeft") { show(at - 1); }
    if (event.key === "ArrowRight") { show(at + 1); }
  });

  window.addEventListener("beforeunload", function (event) { if (!saved) { event.preventDefault(); } });
  show(0);
}());
