// Asking the service, which says when it is busy and what is wrong.

const LATER = new Set([429, 503]);               // worth another try
const TRIES = 6;
const LONGEST = 15;                              // seconds between two

export class Problem extends Error {
  // What is wrong, and what to do about it: words of the service, or `key`, one of WORDS, for those of the page.
  // `again` says whether the same question may get another answer.
  constructor(what, hint, { key = "", value = "", again = true } = {}) {
    super(what);
    Object.assign(this, { hint, key, value, again });
  }
}

let token = remembered(() => sessionStorage.getItem("token")) ?? "";

export function setToken(given) {
  token = given;
  remembered(() => sessionStorage.setItem("token", given));
}

export const hasToken = () => token !== "";

// Storage may be forbidden; then the page forgets.
export function remembered(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

// The JSON that answers. `busy` is told of each pause in seconds, null when it is over. Throws Problem, or AbortError.
export async function ask(path, { body, signal, busy = () => {} } = {}) {
  for (let left = TRIES; ; left -= 1) {
    const response = await send(path, body, signal);
    if (response.ok) return response.json();
    if (!LATER.has(response.status) || left === 1) throw await problem(response);
    const seconds = Math.min(LONGEST, Math.max(1, Number(response.headers.get("Retry-After")) || 1));
    busy(seconds);
    await pause(seconds * (1 + Math.random() / 2), signal);
    busy(null);
  }
}

async function send(path, body, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  // The kind of image is in its bytes; what the system thinks of its name may be wrong.
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
  let told = null;
  try {
    told = await response.json();
  } catch {
    // A proxy in front answers with a page of its own.
  }
  if (response.status === 401) return new Problem("", "", { key: "wrongToken" });
  if (!told?.detail) return new Problem("", "", { key: "strange", value: response.status });
  return new Problem(told.detail, told.hint ?? "", { again: response.status >= 429 });
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
