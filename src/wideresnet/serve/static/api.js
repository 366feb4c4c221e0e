// Requests to the service, with retries and errors.

const RETRY_STATUS = new Set([429, 503]);               // retried
const TRIES = 6;
const MAX_PAUSE = 15;                              // seconds between two tries

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

// Return the response's JSON. `busy` is called with the seconds of each pause, and with null after it. Throws Problem,
// or AbortError.
export async function ask(path, { body, signal, busy = () => {} } = {}) {
  for (let tries = TRIES; ; tries -= 1) {
    const response = await send(path, body, signal);
    if (response.ok) return response.json();
    if (!RETRY_STATUS.has(response.status) || tries === 1) throw await problem(response);
    const seconds = Math.min(MAX_PAUSE, Math.max(1, Number(response.headers.get("Retry-After")) || 1));
    busy(seconds);
    await pause(seconds * (1 + Math.random() / 2), signal);
    busy(null);
  }
}

async function send(path, body, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  // The service detects the image type from the bytes; the type that the system guesses from the name may be wrong.
  if (body) headers["Content-Type"] = "application/octet-stream";
  try {
    return await fetch(path, { method: body ? "POST" : "GET", body, headers, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("", "", { key: (await readable(body)) ? "offline" : "unreadable" });
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

async function problem(response) {
  let content = null;
  try {
    content = await response.json();
  } catch {
    // Not JSON: an error page of a proxy.
  }
  if (response.status === 401) return new Problem("", "", { key: "wrongToken" });
  if (!content?.detail) return new Problem("", "", { key: "strange", value: response.status });
  const kind = String(content.type).split(":").at(-1);
  return new Problem(content.detail, content.hint ?? "", { kind, again: response.status >= 429 });
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("", "AbortError"));
    }, { once: true });
  });
}
