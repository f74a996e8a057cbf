// Keeps a page as new as the journal. Everything works without it.
//
// The server says that something happened (server-sent events, resumed by the browser with
// Last-Event-ID); the page is then asked for again and only what differs is changed in place,
// so focus, scroll and selection stay, and bars move.
"use strict";

const main = document.getElementById("main");
const away = document.getElementById("away");
let after = Number(document.body.dataset.after ?? -1);

// ---- what differs, in place ----------------------------------------------------------------

// What a person changed is not the server's to set.
const theirs = (node, name) => (name === "open" && node.tagName === "DETAILS") || (name === "value" && node.tagName === "INPUT");

function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value && !theirs(old, name)) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !theirs(old, name)) old.removeAttribute(name);
  }
  children(old, fresh);
}

// Lines of a log have ids: new ones are put in front, and the others are not written anew.
function children(old, fresh) {
  let here = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const id = wanted.id;
    if (id && here?.id !== id) {
      const known = [...old.children].find((child) => child.id === id);
      old.insertBefore(known ?? wanted, here);
      if (known) morph(known, wanted);
      continue;
    }
    if (!here) {
      old.append(wanted);
      continue;
    }
    if (here.id && wanted.nodeType === Node.TEXT_NODE) {
      old.insertBefore(wanted, here);
      continue;
    }
    const next = here.nextSibling;
    if (here.isEqualNode(wanted)) here = next;
    else {
      morph(here, wanted);
      here = next;
    }
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

// ---- asking again --------------------------------------------------------------------------

let asking = false;
let again = false;
let turn = 0; // of two questions under way only the newer one's answer counts
let pause = 700; // milliseconds between two questions; grows where answers are slow

async function refresh(now = false) {
  if (asking && !now) {
    again = true;
    return;
  }
  asking = true;
  const mine = ++turn;
  const began = performance.now();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const content = fresh.getElementById("main");
    if (mine !== turn) return;
    if (answer.ok && content) {
      morph(main, content);
      document.title = fresh.title;
      document.querySelector(".lang").href = fresh.querySelector(".lang").href;
    }
  } catch {
    // The stream of events says that the server is away; this only waits for the next.
  }
  pause = Math.min(5000, Math.max(700, 3 * (performance.now() - began)));
  setTimeout(() => {
    if (mine !== turn) return;
    asking = false;
    if (again) {
      again = false;
      refresh();
    }
  }, pause);
}

// ---- hearing that something happened -------------------------------------------------------

let stream = null;
let late = 0; // timer that shows the banner; a stream that comes back at once shows nothing

function listen() {
  if (stream || after < 0 || document.hidden) return;
  stream = new EventSource(`/api/v1/events?after=${after}`);
  stream.onopen = () => {
    clearTimeout(late);
    late = 0;
    if (!away.hidden) refresh();
    away.hidden = true;
  };
  stream.onmessage = (message) => {
    after = Math.max(after, Number(message.lastEventId) || 0);
    refresh();
  };
  stream.onerror = () => {
    late ||= setTimeout(() => (away.hidden = false), 1500);
    if (stream.readyState === EventSource.CLOSED) {
      quiet();
      setTimeout(listen, 2000);
    }
  };
}

function quiet() {
  stream?.close();
  stream = null;
}

// A tab that nobody sees needs no connection (a browser has six for each server).
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return quiet();
  listen();
  if (after >= 0) refresh();
});
addEventListener("pagehide", quiet);
addEventListener("pageshow", listen);
// "for 40 s" grows without an event.
if (after >= 0) setInterval(() => document.hidden || refresh(), 5000);
listen();

// ---- keys and clicks -----------------------------------------------------------------------

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.querySelector(".search input").focus();
  }
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const slot = step && event.target.closest?.("a.slot");
  if (!slot) return;
  const slots = [...document.querySelectorAll("a.slot")];
  slots[slots.indexOf(slot) + step]?.focus();
  event.preventDefault();
});

// A blade is chosen without leaving the page: the racks stay where they are on the screen.
addEventListener("click", (event) => {
  const link = event.target.closest?.("a.slot, a.needs, a.close");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || innerWidth <= 1100) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  refresh(true);
});
addEventListener("popstate", () => refresh(true));
