// The answers as a file: CSV with the columns of `wrn classify`, or JSON.

import { problemText } from "./card.js";

const COLUMNS = ["path", "rank", "index", "label", "probability", "error", "hint"];
const CALIBRATED = ["p_known", "unknown", "set"];

export function save(cards, kind, words) {
  const answers = cards.map((card) => answerOf(card, words));
  const text = kind === "csv" ? asCsv(answers) : `${JSON.stringify(answers, null, 1)}\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" }));
  link.download = `answers.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function answerOf(card, words) {
  if (!card.answer) {
    const [error, hint = ""] = problemText(card.problem, words);
    return { path: card.name, error, hint };
  }
  const { predictions, p_known, unknown, set } = card.answer.results[0];
  return { path: card.name, model: card.answer.model.name, predictions, p_known, unknown, set };
}

function asCsv(answers) {
  const rows = answers.flatMap((answer) =>
    answer.error === undefined
      ? answer.predictions.map((prediction, index) => ({ ...cellsOf(answer), rank: index + 1, ...prediction }))
      : [answer],
  );
  const columns = answers.some((answer) => answer.p_known !== undefined) ? [...COLUMNS, ...CALIBRATED] : COLUMNS;
  const lines = [columns, ...rows.map((row) => columns.map((column) => row[column] ?? ""))];
  // The mark tells spreadsheets that this is UTF-8.
  return `\ufeff${lines.map((cells) => cells.map(quoted).join(",")).join("\r\n")}\r\n`;
}

// The cells of all rows of an answer.
function cellsOf({ path, p_known, unknown, set }) {
  return { path, p_known, unknown: unknown === undefined ? "" : Number(unknown), set: set && JSON.stringify(set) };
}

const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell));
