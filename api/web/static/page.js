// What every page does: times as people read them, copying, and looking for what has changed.

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
];

function ago(seconds) {
  if (seconds < 45) return "just now";
  for (const [length, name] of UNITS) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${name} ago`;
  }
  return "1 min ago";
}

function lasting(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function tick() {
  const now = Date.now() / 1000;
  for (const element of document.querySelectorAll("[data-at]")) {
    if (!element.title) element.title = element.textContent;
    element.textContent = ago(now - Number(element.dataset.at));
  }
  for (const element of document.querySelectorAll("[data-at-text]")) {
    const at = Date.parse(element.dataset.atText) / 1000;
    if (Number.isNaN(at)) continue;
    element.title = element.dataset.atText;
    element.textContent = at > now ? `in ${lasting(at - now)}` : ago(now - at);
  }
  for (const element of document.querySelectorAll("[data-since]")) {
    element.textContent = lasting(now - Number(element.dataset.since));
  }
}

let noticed = 0;

export function notice(text) {
  const element = document.getElementById("notice");
  element.textContent = text;
  element.hidden = !text;
  clearTimeout(noticed);
  if (text) noticed = setTimeout(() => (element.hidden = true), 4000);
}

async function copy(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
    notice("Copied.");
  } catch {
    // Without TLS browsers give no clipboard: the text is selected, for the keyboard.
    getSelection().selectAllChildren(button.previousElementSibling ?? button);
    notice("Selected: copy it with the keyboard.");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

// The same page once more. As a document it is parsed but never run (XMLHttpRequest, "document
// response"), and no text of ours becomes markup.
function look() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.pathname + location.search);
    request.responseType = "document";
    request.timeout = 20000;
    request.onload = () => resolve(request);
    request.onerror = request.ontimeout = () => reject(new Error("no answer"));
    request.send();
  });
}

function inUse(section) {
  const selection = getSelection();
  const selected = selection && !selection.isCollapsed && section.contains(selection.anchorNode);
  return selected || section.contains(document.activeElement);
}

let looking = false;

export async function refresh() {
  if (looking) return;
  looking = true;
  try {
    const request = await look();
    if (new URL(request.responseURL).pathname !== location.pathname) {
      location.reload(); // the session is over
      return;
    }
    const fresh = request.response;
    if (request.status !== 200 || !fresh) throw new Error(`answered ${request.status}`);
    document.getElementById("notice").hidden = true;
    for (const section of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(section.id);
      if (old && !inUse(old)) old.replaceChildren(...section.childNodes);
    }
    if (!("liveSeconds" in fresh.body.dataset)) delete document.body.dataset.liveSeconds;
    if (!fresh.getElementById("cancel")) document.getElementById("cancel")?.remove();
    document.title = fresh.title;
    tick();
  } catch (error) {
    notice(`The server does not answer as it should (${error.message}); trying again.`);
  } finally {
    looking = false;
  }
}

function live() {
  const seconds = Number(document.body.dataset.liveSeconds);
  if (!seconds) return;
  setTimeout(async () => {
    if (!document.hidden) await refresh();
    live();
  }, seconds * 1000);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && document.body.dataset.liveSeconds) refresh();
});

tick();
setInterval(tick, 1000);
live();
