// Shared by all pages: asking the API, and saying what came of it.

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

/** An answer of the API that is no success; `problem` is its problem+json. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail ? `${problem.title} – ${problem.detail}` : problem.title ?? `HTTP ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** Ask the API. Returns {data, etag}; throws Problem. `etag` is sent as If-Match. */
export async function api(method, path, { body, etag, signal } = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (etag) headers["If-Match"] = etag;
  const answer = await fetch(path, {
    method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  let data = {};
  try { data = text ? JSON.parse(text) : {}; } catch { data = { title: text.slice(0, 200) }; }
  if (!answer.ok) throw new Problem(answer.status, data);
  return { data, etag: answer.headers.get("ETag") };
}
