// Terminal output to pieces of text with style classes. Pure: no DOM, no markup.
//
// Understood: SGR (ECMA-48 8.3.117) with the 16, 256 and 24-bit colours, the latter two as the nearest
// of the 16, which have a hue for light and for dark. Every other sequence is left out: titles, links,
// cursor moves and whatever else would act upon a terminal.

const SEQUENCE = new RegExp(
  [
    "(?:\\x1b\\[|\\x9b)([0-?]*)[ -/]*([@-~])", // CSI: parameters, final byte
    "(?:\\x1b[\\]PX^_]|[\\x90\\x98\\x9d-\\x9f])[^\\x07\\x1b\\x9c]*(?:\\x07|\\x1b\\\\|\\x9c)?", // strings
    "\\x1b[ -/]*[0-~]?", // any other
  ].join("|"),
  "g",
);

// What would hide itself or turn text around: shown by its number.
const UNSEEN =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]/g;

export const PLAIN = Object.freeze({ fg: -1, bg: -1, flags: 0 });

const FLAGS = ["bold", "dim", "italic", "underline", "inverse", "strike"];
const SET = { 1: 0, 2: 1, 3: 2, 4: 3, 7: 4, 9: 5 };
const UNSET = { 22: 0b11, 23: 0b100, 24: 0b1000, 27: 0b10000, 29: 0b100000 };

// The 16 colours as terminals have them, to find the nearest.
const PALETTE = [
  [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0], [0, 0, 238], [205, 0, 205], [0, 205, 205],
  [229, 229, 229], [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0], [92, 92, 255],
  [255, 0, 255], [0, 255, 255], [255, 255, 255],
];

function nearest(red, green, blue) {
  let best = 0;
  let least = Infinity;
  PALETTE.forEach(([r, g, b], index) => {
    const distance = (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2;
    if (distance < least) [best, least] = [index, distance];
  });
  return best;
}

// Of xterm's 256: 16 base colours, a cube of 6×6×6, 24 greys.
function of256(number) {
  if (number < 16) return number;
  if (number >= 232) {
    const grey = 8 + (number - 232) * 10;
    return nearest(grey, grey, grey);
  }
  const cube = number - 16;
  const level = (step) => (step === 0 ? 0 : 55 + step * 40);
  return nearest(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

function applied(style, parameters) {
  const codes = parameters.split(/[;:]/, 32).map((text) => (text === "" ? 0 : Number(text)));
  let { fg, bg, flags } = style;
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i];
    if (code === 0) [fg, bg, flags] = [-1, -1, 0];
    else if (code in SET) flags |= 1 << SET[code];
    else if (code in UNSET) flags &= ~UNSET[code];
    else if (code >= 30 && code <= 37) fg = code - 30;
    else if (code >= 40 && code <= 47) bg = code - 40;
    else if (code >= 90 && code <= 97) fg = code - 82;
    else if (code >= 100 && code <= 107) bg = code - 92;
    else if (code === 39) fg = -1;
    else if (code === 49) bg = -1;
    else if (code === 38 || code === 48) {
      let colour = -1;
      if (codes[i + 1] === 5 && codes[i + 2] >= 0 && codes[i + 2] < 256) {
        colour = of256(codes[i + 2]);
        i += 2;
      } else if (codes[i + 1] === 2) {
        const [red, green, blue] = codes.slice(i + 2, i + 5);
        if (blue !== undefined) colour = nearest(red, green, blue);
        i += 4;
      }
      if (code === 38) fg = colour;
      else bg = colour;
    }
  }
  return { fg, bg, flags };
}

export function visible(text) {
  return text.replace(UNSEEN, (one) => {
    return `‹U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}›`;
  });
}

// What a carriage return leaves of a line: the last text written over it.
export function settled(line) {
  // Not by a regular expression, which would take quadratic time for many of them.
  let end = line.length;
  while (end > 0 && line[end - 1] === "\r") end -= 1;
  const begin = end > 0 ? line.lastIndexOf("\r", end - 1) + 1 : 0;
  return line.slice(begin, end);
}

// {pieces: [{text, classes}], style: the one at the end}
export function parse(line, style = PLAIN) {
  const pieces = [];
  const add = (text) => {
    if (text) pieces.push({ text: visible(text), classes: classes(style) });
  };
  let from = 0;
  if (line.search(/[\x1b\x90-\x9f]/) >= 0) {
    SEQUENCE.lastIndex = 0;
    for (let match = SEQUENCE.exec(line); match; match = SEQUENCE.exec(line)) {
      add(line.slice(from, match.index));
      from = match.index + match[0].length;
      if (match[2] === "m" && /^[0-9;:]*$/.test(match[1])) style = applied(style, match[1]);
    }
  }
  add(line.slice(from));
  return { pieces, style };
}

export function plain(line) {
  return parse(line).pieces.map((piece) => piece.text).join("");
}

function classes(style) {
  const names = [];
  if (style.fg >= 0) names.push(`fg${style.fg}`);
  if (style.bg >= 0) names.push(`bg${style.bg}`);
  FLAGS.forEach((name, bit) => {
    if (style.flags & (1 << bit)) names.push(name);
  });
  return names.join(" ");
}
