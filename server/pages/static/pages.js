// What a page can do beyond links and forms; without it everything still works, by links and forms.
"use strict";

// --- A page that changes: its marked parts are fetched again while somebody looks at it.
const soonest = 1000;
let refreshing = null;

function later() {
  clearTimeout(refreshing);
  const seconds = Number(document.body.dataset.live);
  if (seconds && !document.hidden) refreshing = setTimeout(refresh, Math.max(seconds * 1000, soonest));
}

async function refresh() {
  try {
    const answer = await fetch(location.href.split("#")[0], { redirect: "error" });
    if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
    tellStale(!answer.ok);
  } catch {
    tellStale(true); // the node is away, or a redirect to the login was refused
  }
  later();
}

// what is old is not shown as if it were now
function tellStale(isStale) {
  const notice = document.getElementById("stale");
  if (!isStale) notice.textContent = "";
  else if (!notice.textContent) {
    const since = new Date().toLocaleTimeString([], { hour12: false });
    notice.textContent = `Not up to date since ${since}: the node does not answer, or your login has ended. Load the page again.`;
  }
}

function swap(fresh) {
  for (const part of document.querySelectorAll("[data-swap]")) {
    const other = fresh.getElementById(part.id);
    if (!other || other.innerHTML === part.innerHTML || busy(part)) continue;
    const opened = [...part.querySelectorAll("details")].map((details) => details.open);
    const focused = part.contains(document.activeElement) ? nameOf(document.activeElement) : null;
    part.innerHTML = other.innerHTML;
    if (focused) [...part.querySelectorAll("a, button, summary")].find((element) => nameOf(element) === focused)?.focus({ preventScroll: true });
    [...part.querySelectorAll("details")].forEach((details, at) => { details.open = Boolean(opened[at]); });
  }
  const ended = document.body.dataset.live && !fresh.body.dataset.live;
  if (fresh.body.dataset.live) document.body.dataset.live = fresh.body.dataset.live;
  else delete document.body.dataset.live;
  if (ended && player()) location.reload(); // its pictures can be drawn now
}

function nameOf(element) { return element.getAttribute("href") || element.getAttribute("aria-label") || element.textContent; }

// what somebody fills in or has marked is not pulled away
function busy(part) {
  const marked = document.getSelection();
  const filling = part.contains(document.activeElement) && document.activeElement.matches("input, select");
  return filling || (marked && !marked.isCollapsed && part.contains(marked.anchorNode));
}

document.addEventListener("visibilitychange", () => { if (!document.hidden && document.body.dataset.live) refresh(); });
later();

// --- A request's turns: one after the other by arrow keys.
const rest = 120; // milliseconds on a turn before its picture is asked for
let asking = null;

function player() { return document.getElementById("player"); }

function turnLinks() { return [...document.querySelectorAll(".turns a[data-number]")]; }

function step(by) {
  const links = turnLinks();
  const at = links.findIndex((link) => link.hasAttribute("aria-current"));
  const next = links[at + by];
  if (next) showTurn(next);
  else follow(Number(links[at].dataset.number) + by);
}

function follow(number) {
  if (number >= 1 && number <= Number(player().dataset.count)) location.href = `?turn=${number}#turn`;
}

function showTurn(link) {
  const told = link.dataset;
  const count = Number(player().dataset.count), number = Number(told.number);
  for (const other of turnLinks()) other.removeAttribute("aria-current");
  link.setAttribute("aria-current", "true");
  bringIntoList(link);
  document.getElementById("where").textContent = `Turn ${number} of ${count}: ${told.target}, ${told.place}`;
  for (const name of ["role", "action", "outcome"]) document.getElementById(name).textContent = told[name];
  for (const name of ["reply", "observation"]) document.getElementById(name).textContent = told[name] || "–";
  point(document.getElementById("back"), number - 1, number === 1);
  point(document.getElementById("forward"), number + 1, number === count);
  history.replaceState(null, "", `?turn=${number}`);
  clearTimeout(asking);
  asking = setTimeout(() => showPicture(link), rest);
}

function point(button, number, off) {
  if (off) button.setAttribute("aria-disabled", "true");
  else { button.removeAttribute("aria-disabled"); button.href = `?turn=${number}#turn`; }
}

function showPicture(link) {
  const picture = document.getElementById("picture");
  if (!picture) return;
  picture.alt = `Turn ${link.dataset.number}: ${link.dataset.action}, ${link.dataset.place}`;
  picture.src = link.dataset.picture;
}

async function sayWhyMissing(picture) {
  const missing = document.getElementById("missing");
  picture.hidden = true;
  missing.hidden = false;
  missing.textContent = "The picture cannot be shown.";
  const address = picture.src;
  try {
    const answer = await fetch(address);
    if (picture.src !== address) return;
    if (answer.ok) { picture.src = address; return; }
    missing.textContent = (await answer.text()).slice(0, 500);
    if (answer.status === 429) setTimeout(() => { if (picture.src === address) picture.src = address; }, 1500);
  } catch {
    missing.textContent = "The node does not answer.";
  }
}

function bringIntoList(link) {
  const list = link.closest(".turns");
  const above = link.offsetTop - list.offsetTop;
  if (above < list.scrollTop + 40 || above + link.offsetHeight > list.scrollTop + list.clientHeight) {
    list.scrollTop = above - list.clientHeight / 2;
  }
}

if (player()) {
  bringIntoList(document.querySelector(".turns a[aria-current]"));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("input, select, textarea, .scroll")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); step(by); }
  });
  player().addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (link.getAttribute("aria-disabled")) return;
    if (link.id === "back") step(-1);
    else if (link.id === "forward") step(1);
    else showTurn(link);
  });
  const picture = document.getElementById("picture");
  if (picture) {
    const shown = () => { picture.hidden = false; document.getElementById("missing").hidden = true; };
    picture.addEventListener("load", shown);
    picture.addEventListener("error", () => sayWhyMissing(picture));
    if (picture.complete && !picture.naturalWidth) sayWhyMissing(picture);
  }
}

// --- Forms: a filter that is sent when it is chosen, a question before what cannot be undone.
document.addEventListener("change", (event) => { if (event.target.matches("[data-submits]")) event.target.form.submit(); });
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// --- Names of structures: completed as they are typed, and said what they stand for.
let typing = null;

async function complete(field) {
  const text = field.value.trim();
  const means = document.getElementById(field.getAttribute("aria-describedby"));
  if (!text) { means.textContent = ""; return; }
  const answer = await fetch(`/structures?begin=${encodeURIComponent(text)}`);
  if (!answer.ok || field.value.trim() !== text) return;
  const { means: labels, names } = await answer.json();
  const list = document.getElementById("structures");
  list.replaceChildren(...names.map(({ name, labels: of }) => {
    const option = document.createElement("option");
    option.value = name;
    option.label = of.join(", ");
    return option;
  }));
  means.textContent = labels.length ? labels.join(", ") : "Not in the catalogue: given to the planner as it is";
}

document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-completes]")) return;
  clearTimeout(typing);
  typing = setTimeout(() => complete(event.target), 150);
});

const more = document.querySelector("[data-more]");
if (more) {
  more.hidden = false;
  more.addEventListener("click", () => {
    const last = document.querySelector(".names > div:last-child");
    const added = last.cloneNode(true);
    const number = document.querySelectorAll(".names > div").length + 1;
    const field = added.querySelector("input"), means = added.querySelector("small");
    field.value = "";
    field.setAttribute("aria-label", `Structure ${number}`);
    field.setAttribute("aria-describedby", `means-${number}`);
    means.id = `means-${number}`;
    means.textContent = "";
    last.after(added);
    field.focus();
  });
}
