// A log as rows of text. Pure: no DOM.

import { PLAIN, parse, settled } from "./ansi.js";

const LONGEST = 2000; // characters of a row; longer lines go on in the next one

// Rows of text with the line that each is of.
export class Rows {
  constructor() {
    this.texts = [];
    this.lines = [];
    this.styles = new Map(); // row -> style at its begin, where that is not plain
    this.style = PLAIN;
    this.line = 1;
    this.rest = ""; // of the last line, which has no end yet
    this.continued = false; // the last line has rows already
    this.provisional = 0; // rows at the end that stand for the rest
  }

  get length() {
    return this.texts.length;
  }

  add(text) {
    this.texts.length -= this.provisional;
    this.lines.length -= this.provisional;
    this.provisional = 0;
    const parts = (this.rest + text).split("\n");
    this.rest = parts.pop();
    for (const part of parts) this.end(part);
    while (this.rest.length > LONGEST + 64) {
      const cut = place(this.rest);
      this.push(this.rest.slice(0, cut));
      this.rest = this.rest.slice(cut);
      this.continued = true;
    }
    if (this.rest) {
      this.texts.push(settled(this.rest));
      this.lines.push(this.line);
      this.note(this.texts.length - 1);
      this.provisional = 1;
    }
  }

  end(text) {
    let left = settled(text);
    while (left.length > LONGEST + 64) {
      const cut = place(left);
      this.push(left.slice(0, cut));
      left = left.slice(cut);
      this.continued = true;
    }
    if (left || !this.continued) this.push(left);
    this.line += 1;
    this.continued = false;
  }

  push(text) {
    this.texts.push(text);
    this.lines.push(this.line);
    this.note(this.texts.length - 1);
    if (text.includes("\x1b") || text.includes("\x9b")) this.style = parse(text, this.style).style;
  }

  note(row) {
    if (this.style.fg >= 0 || this.style.bg >= 0 || this.style.flags) this.styles.set(row, this.style);
    else this.styles.delete(row);
  }

  rowOf(line) {
    let [low, high] = [0, this.lines.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.lines[middle] < line) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

// Where a long row is cut: not inside an escape sequence, not between two halves of a character.
function place(text) {
  const escape = text.lastIndexOf("\x1b", LONGEST);
  let cut = escape > LONGEST - 32 && escape > 0 ? escape : LONGEST;
  const half = text.charCodeAt(cut - 1);
  if (half >= 0xd800 && half <= 0xdbff) cut += 1;
  return cut;
}
