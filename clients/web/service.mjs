// The service as the page uses it: one token, requests over HTTP, turns over the live API.

import * as config from "./config.mjs";
import { Live, PracticeError, Unauthorized } from "./live.mjs";

/** @typedef {import("../typescript/schema.js").components["schemas"]} Schemas */

const TOKEN = "practice.token";

/** It is kept until the tab is closed, and sent to this service alone. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  /** @param {string} value */
  set(value) {
    sessionStorage.setItem(TOKEN, value.trim());
    live.close();
  },
};

export const live = new Live({ url: config.live, api: config.api, token: token.get });

/**
 * A request; its answer. A POST has an idempotency key, so that it takes effect once however often it is sent.
 * @param {string} method @param {string} path @param {unknown} [body] @returns {Promise<any>}
 */
export async function call(method, path, body) {
  return (await withHeaders(method, path, body)).answer;
}

/**
 * The same, with the headers of the answer.
 * @param {string} method @param {string} path @param {unknown} [body] @returns {Promise<{answer: any, headers: Headers}>}
 */
export async function withHeaders(method, path, body) {
  /** @type {Record<string, string>} */
  const headers = { authorization: `Bearer ${token.get()}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method === "POST") headers["idempotency-key"] = Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
  for (let left = 3; ; left--) {
    const response = await fetch(`${config.api}/user/practice${path}`, { method, headers, body: JSON.stringify(body) });
    const wait = response.headers.get("retry-after");
    if (left && wait !== null && Number(wait) <= 60) {
      await new Promise((done) => setTimeout(done, (Number(wait) + Math.random()) * 1000));
      continue;
    }
    const answer = response.status === 204 ? null : await response.json();
    if (response.ok) return { answer, headers: response.headers };
    const detail = answer.detail ?? answer.message;
    throw new (response.status === 401 ? Unauthorized : PracticeError)(response.status, detail);
  }
}
