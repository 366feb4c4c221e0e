// Requests to the service, with retries and errors.

const RETRY_STATUS = new Set([429, 503]);               // retried
const TRIES = 12;                                // of a request that is refused: more than two minutes
const TRIES_LOST = 5;                            // without an answer: 15 to 23 seconds
const MAX_PAUSE = 16;                            // seconds between two tries, before up to half as much is added at random

export class Problem extends Error {
  // An error and a hint: texts of the service, of a `kind` that WORDS may have words for; or `key`, a key of WORDS, for
  // texts of the page. `again`: whether a retry may succeed.
  constructor(message, hint, { key = "", value = "", kind = "", again = true } = {}) {
    super(message);
    Object.assign(this, { hint, key, value, kind, again });
  }
}

let token = remembered(() => sessionStorage.getItem("token")) ?? "";

export function setToken(value) {
  token = value;
  remembered(() => sessionStorage.setItem("token", value));
}

export const hasToken = () => token !== "";

// Storage may be forbidden; then nothing is remembered.
export function remembered(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

// Return the response's JSON. Refusals and lost connections are retried, after pauses that double. `pausing` is called with
// the seconds of each and its reason, a key of WORDS, and with 0 after it. Throws Problem, or AbortError.
export async function ask(path, { body, signal, pausing = () => {} } = {}) {
  for (let tries = 1; ; tries += 1) {
    const { response, content } = await send(path, body, signal);
    if (response?.ok && content) return content;
    const retried = !response || RETRY_STATUS.has(response.status);
    if (!retried || tries === (response ? TRIES : TRIES_LOST)) throw problem(response, content);
    const least = Number(response?.headers.get("Retry-After")) || 1;
    const seconds = Math.min(MAX_PAUSE, Math.max(least, 2 ** (tries - 1))) * (1 + Math.random() / 2);
    pausing(seconds, response ? "busy" : "lost");
    await pause(seconds, signal);
    pausing(0);
  }
}

// Return the response and its JSON, nothing where the connection is lost, and no content that is not JSON, such as an
// error page of a proxy. Throws Problem for a file that cannot be read, or AbortError.
async function send(path, body, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  // The service detects the image type from the bytes; the type that the system guesses from the name may be wrong.
  if (body) headers["Content-Type"] = "application/octet-stream";
  let response = null;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", body, headers, signal, cache: "no-store" });
    return { response, content: parsed(await response.text()) };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // Where the service cuts an upload off, the words of its answer may be lost, but not its number.
    if (response && !response.ok) return { response, content: null };
    if (!(await readable(body))) throw new Problem("", "", { key: "unreadable" });
    return {};
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function readable(body) {
  try {
    await body?.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

function problem(response, content) {
  if (!response) return new Problem("", "", { key: "offline" });
  if (response.status === 401) return new Problem("", "", { key: "wrongToken" });
  if (!content?.detail) return new Problem("", "", { key: "strange", value: response.status });
  const kind = String(content.type).split(":").at(-1);
  return new Problem(content.detail, content.hint ?? "", { kind, again: response.status >= 429 });
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("", "AbortError"));
    }, { once: true });
  });
}
