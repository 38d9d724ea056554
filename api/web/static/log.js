// A build's log, as long as it may be: all of it is kept as text, and only the rows that are in sight
// are elements. Foreign text gets into the page as text nodes, never as markup.

import { PLAIN, parse, plain } from "./ansi.js";
import { refresh } from "./page.js";
import { Rows } from "./rows.js";

const PIECE = 1024 * 1024; // bytes of a request
const TALLEST = 8e6; // pixels of the scrolled area; browsers cannot lay out much more than 1.6e7
const AROUND = 20; // rows above and below those in sight
const SLICE = 20000; // rows searched at a time, so that the page goes on living

class LogView {
  constructor(element) {
    this.element = element;
    this.rows = new Rows();
    this.offset = 0;
    this.follow = document.getElementById("log-follow");
    this.stateLine = document.getElementById("log-state");
    this.space = document.createElement("div");
    this.space.className = "space";
    this.window = document.createElement("div");
    this.window.className = "window";
    element.append(this.space, this.window);
    this.height = this.measure();
    this.hits = [];
    this.hit = -1;
    this.sought = "";
    this.searched = 0;
    this.settled = false;
    this.follow.checked = element.dataset.over !== "yes" && !location.hash;
    element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    element.addEventListener("click", (event) => this.clicked(event));
    this.follow.addEventListener("change", () => this.draw());
    addEventListener("hashchange", () => this.go());
    addEventListener("resize", () => this.draw());
    new Search(this);
  }

  measure() {
    const row = document.createElement("div");
    row.className = "row";
    row.textContent = "0";
    this.window.append(row);
    const { height } = row.getBoundingClientRect();
    row.remove();
    return height || 20;
  }

  // Pixels of all rows, or as many as a browser can scroll: then one pixel stands for more.
  get tall() {
    return Math.min(this.rows.length * this.height, TALLEST);
  }

  get inSight() {
    return Math.ceil(this.element.clientHeight / this.height);
  }

  get first() {
    const most = Math.max(1, this.tall - this.element.clientHeight);
    const hidden = Math.max(0, this.rows.length - Math.floor(this.element.clientHeight / this.height));
    return Math.min(hidden, Math.round((this.element.scrollTop / most) * hidden));
  }

  add(text) {
    this.rows.add(text);
    this.draw();
    this.search?.goOn();
  }

  scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    if (this.follow.checked && scrollTop < this.lastTop - 2) {
      this.follow.checked = scrollTop + clientHeight >= scrollHeight - 4;
    }
    this.lastTop = scrollTop;
    this.draw();
  }

  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.paint();
    });
  }

  paint() {
    this.space.style.height = `${this.tall}px`;
    if (this.wanted !== undefined) this.seek();
    else if (this.follow.checked) {
      this.element.scrollTop = this.element.scrollHeight;
      this.lastTop = this.element.scrollTop;
    }
    const top = this.first;
    const begin = Math.max(0, top - AROUND);
    const end = Math.min(this.rows.length, top + this.inSight + AROUND);
    const rows = document.createDocumentFragment();
    const [from, to] = range();
    for (let row = begin; row < end; row += 1) rows.append(this.row(row, from, to));
    this.window.replaceChildren(rows);
    // The rows in sight stand where the scrolled place is, however much one pixel stands for.
    const scaled = this.rows.length * this.height > TALLEST;
    const y = scaled ? this.element.scrollTop - (top - begin) * this.height : begin * this.height;
    this.window.style.transform = `translateY(${y}px)`;
  }

  row(index, from, to) {
    const line = this.rows.lines[index];
    const row = document.createElement("div");
    row.className = line >= from && line <= to ? "row chosen" : "row";
    const number = document.createElement("a");
    number.className = "number";
    if (index === 0 || this.rows.lines[index - 1] !== line) {
      number.textContent = String(line);
      number.href = `#L${line}`;
      number.dataset.line = String(line);
    }
    const text = document.createElement("span");
    text.className = "text";
    let at = 0;
    const { pieces } = parse(this.rows.texts[index], this.rows.styles.get(index) ?? PLAIN);
    const marks = this.sought ? found(pieces, this.sought) : [];
    for (const piece of pieces) {
      for (const [part, hit] of split(piece.text, at, marks)) {
        const span = document.createElement(hit ? "mark" : "span");
        if (piece.classes) span.className = piece.classes;
        if (hit && index === this.hits[this.hit]) span.classList.add("current");
        span.textContent = part;
        text.append(span);
      }
      at += piece.text.length;
    }
    row.append(number, text);
    return row;
  }

  clicked(event) {
    const number = event.target.closest("a.number");
    if (!number || !event.shiftKey || !location.hash) return;
    event.preventDefault();
    const [from] = range();
    const line = Number(number.dataset.line);
    location.hash = `#L${Math.min(from, line)}-L${Math.max(from, line)}`;
  }

  // To the line in the address, once it is there.
  go() {
    const [from] = range();
    if (from < Infinity) {
      this.follow.checked = false;
      this.show(this.rows.rowOf(from), from > this.rows.line);
    } else this.draw();
  }

  show(row, later = false) {
    this.wanted = later ? undefined : row;
    this.element.scrollIntoView({ block: "nearest" });
    this.draw();
  }

  seek() {
    const visible = Math.floor(this.element.clientHeight / this.height);
    const hidden = Math.max(1, this.rows.length - visible);
    const most = Math.max(0, this.tall - this.element.clientHeight);
    const row = Math.max(0, this.wanted - Math.floor(visible / 3));
    this.element.scrollTop = Math.min(1, row / hidden) * most;
    this.lastTop = this.element.scrollTop;
    this.wanted = undefined;
  }

  say(text) {
    this.stateLine.textContent = text;
  }

  async load() {
    let complete = false;
    let waiting = location.hash !== "";
    for (;;) {
      const query = `offset=${this.offset}&limit=${PIECE}`;
      const answer = await fetch(`${this.element.dataset.log}?${query}`);
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      const text = await answer.text();
      const next = Number(answer.headers.get("X-Log-Next-Offset"));
      complete = answer.headers.get("X-Log-Complete") === "true";
      if (text) this.add(text);
      if (waiting && this.rows.line > range()[0]) {
        waiting = false;
        this.go();
      }
      if (complete || next === this.offset) break;
      this.offset = next;
    }
    if (waiting) this.go();
    this.element.dataset.loaded = "yes";
    if (complete) this.settle();
    else this.listen();
  }

  // Nothing follows.
  settle() {
    this.settled = true;
    this.say(this.rows.length ? "" : "The log is empty.");
    this.search.goOn();
  }

  listen() {
    if (this.source || this.settled) return;
    this.say("The log goes on while the build runs.");
    const source = new EventSource(`${this.element.dataset.stream}?offset=${this.offset}`);
    this.source = source;
    source.addEventListener("log", (event) => {
      this.offset = Number(event.lastEventId);
      this.add(JSON.parse(event.data).text);
    });
    let told = false;
    source.addEventListener("state", () => {
      if (told) refresh();
      told = true;
    });
    source.addEventListener("end", () => {
      this.settle();
      this.rest();
      refresh();
    });
    source.addEventListener("problem", () => {
      this.rest();
      setTimeout(() => this.listen(), 3000);
    });
    source.addEventListener("error", () => {
      this.say("The connection broke; trying again.");
      if (source.readyState !== EventSource.CLOSED) return;
      this.rest();
      setTimeout(() => this.listen(), 5000);
    });
    source.addEventListener("open", () => this.say("The log goes on while the build runs."));
  }

  rest() {
    this.source?.close();
    this.source = undefined;
  }
}

class Search {
  constructor(view) {
    this.view = view;
    view.search = this;
    this.input = document.getElementById("log-search");
    this.told = document.getElementById("log-hits");
    this.input.addEventListener("input", () => {
      clearTimeout(this.typed);
      this.typed = setTimeout(() => this.begin(), 150);
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.step(event.shiftKey ? -1 : 1);
    });
    document.getElementById("log-next").addEventListener("click", () => this.step(1));
    document.getElementById("log-previous").addEventListener("click", () => this.step(-1));
  }

  begin() {
    this.view.sought = this.input.value.toLowerCase();
    this.view.hits = [];
    this.view.hit = -1;
    this.view.searched = 0;
    this.view.draw();
    this.goOn();
  }

  goOn() {
    const { view } = this;
    if (this.running) return;
    if (!view.sought) {
      this.told.textContent = "";
      return;
    }
    // The last row may still grow.
    const most = view.rows.length - (view.settled ? 0 : view.rows.provisional);
    const end = Math.min(most, view.searched + SLICE);
    for (; view.searched < end; view.searched += 1) {
      const text = view.rows.texts[view.searched];
      if (plain(text).toLowerCase().includes(view.sought)) view.hits.push(view.searched);
    }
    this.tell();
    if (view.hit < 0 && view.hits.length) this.step(1);
    if (view.searched < most) {
      this.running = true;
      setTimeout(() => {
        this.running = false;
        this.goOn();
      });
    }
  }

  step(by) {
    const { view } = this;
    if (!view.hits.length) return;
    view.hit = (view.hit + by + view.hits.length) % view.hits.length;
    view.follow.checked = false;
    view.show(view.hits[view.hit]);
    this.tell();
  }

  tell() {
    const { hits, hit } = this.view;
    this.told.textContent = hits.length ? `${Math.max(hit, 0) + 1} of ${hits.length}` : "no hit";
  }
}

// Where `sought` begins and ends in the text of the pieces.
function found(pieces, sought) {
  const text = pieces.map((piece) => piece.text).join("").toLowerCase();
  const marks = [];
  for (let at = text.indexOf(sought); at >= 0; at = text.indexOf(sought, at + sought.length)) {
    marks.push([at, at + sought.length]);
  }
  return marks;
}

// `text`, which begins at `at`, as [part, whether it is marked].
function* split(text, at, marks) {
  let done = 0;
  for (const [begin, end] of marks) {
    const from = Math.max(begin - at, done);
    const to = Math.min(end - at, text.length);
    if (to <= done || from >= text.length) continue;
    if (from > done) yield [text.slice(done, from), false];
    yield [text.slice(from, to), true];
    done = to;
  }
  if (done < text.length) yield [text.slice(done), false];
}

// Lines in the address: #L10 or #L10-L20.
function range() {
  const match = /^#L(\d{1,9})(?:-L(\d{1,9}))?$/.exec(location.hash);
  if (!match) return [Infinity, -Infinity];
  const from = Number(match[1]);
  return [from, match[2] ? Number(match[2]) : from];
}

const view = new LogView(document.getElementById("log"));

async function begin() {
  try {
    await view.load();
  } catch (error) {
    view.say(`The log cannot be had (${error.message}); trying again.`);
    setTimeout(begin, 5000);
  }
}

// A connection for each page that nobody looks at would use up what a browser gives one server.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) view.rest();
  else if (view.element.dataset.loaded) view.listen();
});

begin();
