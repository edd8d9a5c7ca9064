// What is changed in a program's text before it runs, line for line: loops learn to spend virtual time, and the
// decorators that ask for machine code are taken off, for which the interpreter has no back end.

const isName = (c) => c !== undefined && /[\w\u0080-\uffff]/.test(c);

/** The index after the string that starts at `i` (its first quote), or the end of the text where it is not closed. */
function afterString(text, i) {
  const quote = text[i];
  const closing = text.startsWith(quote.repeat(3), i) ? quote.repeat(3) : quote;
  for (i += closing.length; i < text.length; i += 1) {
    if (text[i] === "\\") i += 1;
    else if (text.startsWith(closing, i)) return i + closing.length;
    else if (text[i] === "\n" && closing.length === 1) return i;
  }
  return text.length;
}

/** The index of the colon that ends the condition starting at `i`, or -1. */
function conditionEnd(text, i) {
  let depth = 0;
  let lambdas = 0;
  while (i < text.length) {
    const c = text[i];
    if (c === "'" || c === '"') {
      i = afterString(text, i);
      continue;
    }
    if (c === "#" || (c === "\n" && depth === 0)) {
      if (c === "\n" || depth === 0) return -1;
      i = (text.indexOf("\n", i) + 1 || text.length + 1) - 1;
    } else if (c === "\\") i += 1;
    else if ("([{".includes(c)) depth += 1;
    else if (")]}".includes(c)) depth -= 1;
    else if (depth === 0 && text.startsWith("lambda", i) && !isName(text[i - 1]) && !isName(text[i + 6])) lambdas += 1;
    else if (depth === 0 && c === ":" && text[i + 1] !== "=") {
      if (lambdas === 0) return i;
      lambdas -= 1;
    }
    i += 1;
  }
  return -1;
}

/** `while X:` becomes `while __tick__() and (X):`; no line moves. */
export function prepare(text) {
  const pieces = [];
  let copied = 0;
  let depth = 0;
  let fresh = true; // at the start of a logical line
  let i = 0;
  while (i < text.length) {
    const c = text[i];
    if (c === "'" || c === '"') {
      i = afterString(text, i);
      fresh = false;
    } else if (c === "#") {
      i = text.indexOf("\n", i);
      if (i < 0) break;
    } else if (c === "\n") {
      fresh = depth === 0;
      i += 1;
    } else if (c === "\\") {
      i += text[i + 1] === "\r" ? 3 : 2;
      fresh = false;
    } else if (c === " " || c === "\t" || c === "\r" || c === "\f") {
      i += 1;
    } else if (fresh && c === "@") {
      const found = /^@micropython\.(native|viper|bytecode)\b/.exec(text.slice(i, i + 30));
      if (found) {
        pieces.push(text.slice(copied, i), "@__same__");
        copied = i + found[0].length;
        i = copied;
      } else i += 1;
      fresh = false;
    } else if (fresh && text.startsWith("while", i) && !isName(text[i + 5])) {
      const end = conditionEnd(text, i + 5);
      if (end > 0 && text.slice(i + 5, end).trim() !== "") {
        pieces.push(text.slice(copied, i + 5), " __tick__() and (", text.slice(i + 5, end).trim(), ")");
        copied = end;
        i = end;
      } else i += 5;
      fresh = false;
    } else {
      if ("([{".includes(c)) depth += 1;
      else if (")]}".includes(c)) depth = Math.max(0, depth - 1);
      fresh = false;
      i += 1;
    }
  }
  pieces.push(text.slice(copied));
  return pieces.join("");
}
