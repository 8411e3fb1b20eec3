// A client of the live API: a turn is an async iterator over its events. No dependencies and no build step; the types are in
// the comments, those of the messages in messages.d.ts, which `make client-ts` writes from asyncapi.json.

/**
 * @typedef {import("./messages.js").components["schemas"]} Messages
 * @typedef {Messages["TurnStarted"] | Messages["AnswerDelta"] | Messages["AnswerRestarted"] | Messages["AnswerDone"]
 *   | Messages["AnswerFailed"] | Messages["TurnDone"]} TurnEvent
 * @typedef {TurnEvent | Messages["Pong"] | Messages["LiveError"]} ServerMessage
 * @typedef {Messages["Chat"] | Messages["Run"] | Messages["Follow"] | Messages["Cancel"]} ClientMessage
 * @typedef {ClientMessage extends infer M ? M extends M ? Omit<M, "id"> : never : never} Action
 * @typedef {{ session_id: number, turn_id: number }} TurnId
 *
 * @typedef {object} Options
 * @property {string} url  The live API: `wss://...`, an output of the stack.
 * @property {string} api  The HTTP API: `https://...`, an output of the stack.
 * @property {() => string | Promise<string>} token  Returns a valid token; called for every connection and request.
 * @property {number} [tries]  How often in a row it may fail before a turn's iterator throws.
 * @property {(seconds: number) => Promise<void>} [pause]
 * @property {number} [pingSeconds]  API Gateway closes a connection that is idle for ten minutes.
 * @property {number} [patience]  Seconds without the first event, or the answer to a ping, after which a connection is given up.
 * @property {typeof WebSocket} [WebSocket]  For a runtime without one, such as Node.js 20.
 */

/** In bytes. */
const LARGEST_MESSAGE = 32 * 1024;
const PASSING = ["request_in_flight", "too_many_followers", "too many requests"];

/** An error of the service: its status, and the `detail` that the HTTP API would answer. */
export class PracticeError extends Error {
  /** @param {number} status @param {unknown} detail */
  constructor(status, detail) {
    super(`${status} ${typeof detail === "string" ? detail : JSON.stringify(detail)}`);
    this.status = status;
    this.detail = detail;
  }
}

/** The token is not accepted. */
export class Unauthorized extends PracticeError {}

/** The service cannot be reached. A turn that has started goes on; `follow` shows it. */
export class ConnectionFailed extends Error {}

/** Turns over one connection, which is opened when it is needed and opened again when it is lost. */
export class Live {
  /** @type {Required<Options>} */ #options;
  /** @type {Promise<WebSocket> | null} */ #socket = null;
  /** @type {Map<string, Inbox>} */ #inboxes = new Map();
  #sent = 0;

  /** @param {Options} options */
  constructor(options) {
    const defaults = { tries: 8, pause: sleep, pingSeconds: 300, patience: 20, WebSocket: globalThis.WebSocket };
    this.#options = { ...defaults, ...options };
    if (!this.#options.WebSocket) throw new TypeError("this runtime has no WebSocket: pass one as an option");
  }

  /**
   * Runs the next turn of a session. Leaving the loop, or aborting, stops showing the turn; `cancel` stops the turn.
   * @param {Omit<Messages["Chat"], "action" | "id">} turn @param {{ signal?: AbortSignal }} [options]
   */
  chat(turn, options) {
    return this.#events({ ...turn, idempotency_key: turn.idempotency_key ?? newKey(), action: "chat" }, options);
  }

  /**
   * Opens a session of a class and runs its first turn.
   * @param {Omit<Messages["Run"], "action" | "id">} turn @param {{ signal?: AbortSignal }} [options]
   */
  run(turn, options) {
    return this.#events({ ...turn, idempotency_key: turn.idempotency_key ?? newKey(), action: "run" }, options);
  }

  /**
   * Shows any turn from its beginning, however it was begun and whether or not it has ended.
   * @param {TurnId} turn @param {{ signal?: AbortSignal }} [options]
   */
  follow({ session_id, turn_id }, options) {
    return this.#events({ action: "follow", session_id, turn_id }, options);
  }

  /**
   * Stops a turn: what its models have written so far is kept.
   * @param {TurnId} turn
   */
  async cancel({ session_id, turn_id }) {
    for await (const event of this.#events({ action: "cancel", session_id, turn_id })) {
      if (event.type === "turn.done") return event;
    }
    throw new ConnectionFailed("the connection was closed");
  }

  /** Ends the connection. The next turn opens another one. */
  close() {
    const opened = this.#socket;
    this.#lose(opened, new ConnectionFailed("the client was closed"));
    opened?.then((socket) => socket.close(1000), () => {});
  }

  /**
   * @param {Action} action @param {{ signal?: AbortSignal }} [options]
   * @returns {AsyncGenerator<TurnEvent, void, undefined>}
   */
  async *#events(action, { signal } = {}) {
    const turn = new TurnText();
    for (let failures = 0; ; ) {
      signal?.throwIfAborted();
      try {
        if (isTooLong(action)) action = await this.#begin(action);
        for await (const message of this.#replies(action, signal)) {
          for await (const event of turn.take(message)) {
            failures = 0;
            yield event;
            if (event.type === "turn.done") return;
          }
        }
      } catch (error) {
        if (!isPassing(error) || ++failures >= this.#options.tries) throw error;
        await this.#options.pause(Math.random() * Math.min(30, 0.5 * 2 ** failures));
      }
      if (turn.id && action.action !== "cancel") action = { action: "follow", ...turn.id };
      turn.startOver();
    }
  }

  /**
   * What one message is answered with. Throws Lost when the connection ends.
   * @param {Action} action @param {AbortSignal} [signal]
   */
  async *#replies(action, signal) {
    const socket = await this.#connected();
    const inbox = new Inbox();
    const id = String(++this.#sent);
    const abort = () => inbox.end(signal?.reason);
    const late = setTimeout(() => inbox.end(new Lost("no answer")), this.#options.patience * 1000);
    this.#inboxes.set(id, inbox);
    signal?.addEventListener("abort", abort);
    try {
      signal?.throwIfAborted();
      socket.send(JSON.stringify({ ...action, id }));
      for await (const message of inbox) {
        clearTimeout(late);
        yield message;
      }
    } finally {
      clearTimeout(late);
      signal?.removeEventListener("abort", abort);
      this.#inboxes.delete(id);
    }
  }

  /** Begins a turn over HTTP that does not fit a message. @param {Action} action @returns {Promise<Action>} */
  async #begin(action) {
    if (action.action !== "chat" && action.action !== "run") throw new PracticeError(413, "message_too_long");
    const { action: _, idempotency_key, ...body } = action;
    let path = "run";
    if ("session_id" in body) path = `${body.session_id}/chat`;
    else path += `?class_id=${body.class_id}`;
    const { session_id: _session, class_id: _class, ...sent } = /** @type {Record<string, unknown>} */ (body);
    const response = await this.#fetch(`/user/practice/sessions/${path}`, {
      method: "POST",
      body: JSON.stringify(sent),
      headers: {
        "content-type": "application/json",
        "idempotency-key": idempotency_key ?? newKey(),
        prefer: "respond-async",
      },
    });
    const answer = await response.json().catch(() => ({}));
    if (response.status === 202) {
      return { action: "follow", session_id: answer.session_id, turn_id: answer.turn_id };
    }
    throw refusal(response.status, answer.detail ?? answer.message ?? response.statusText);
  }

  /** @param {string} path @param {RequestInit} [request] */
  async #fetch(path, request = {}) {
    const headers = { ...request.headers, authorization: `Bearer ${await this.#options.token()}` };
    try {
      return await fetch(this.#options.api.replace(/\/$/, "") + path, { ...request, headers });
    } catch (error) {
      throw new Lost(String(error));
    }
  }

  /** The open connection, or a new one. */
  #connected() {
    if (!this.#socket) {
      const opening = (this.#socket = this.#open());
      opening.then(
        (socket) => this.#serve(socket, opening),
        () => this.#lose(opening),
      );
    }
    return this.#socket;
  }

  /** One handshake. A browser hides why one fails, so a request over HTTP finds out whether it is the token. */
  async #open() {
    const { WebSocket, url, patience, token } = this.#options;
    const bearer = `bearer.${await token()}`;
    let late;
    try {
      const socket = new WebSocket(url, ["practice.v1", bearer]);
      late = setTimeout(() => socket.close(), patience * 1000);
      await new Promise((opened, failed) => {
        socket.onopen = opened;
        socket.onerror = socket.onclose = failed;
      });
      return socket;
    } catch {
      const response = await this.#fetch("/user/practice/sessions?size=1");
      if (response.status === 401) throw refusal(401, "unauthorized");
      throw new Lost(`the handshake failed; HTTP answers ${response.status}`);
    } finally {
      clearTimeout(late);
    }
  }

  /** @param {WebSocket} socket @param {Promise<WebSocket>} opened */
  #serve(socket, opened) {
    let awaited = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);
    const pings = setInterval(() => {
      socket.send(JSON.stringify({ action: "ping", id: "ping" }));
      awaited = setTimeout(lost, this.#options.patience * 1000);
    }, this.#options.pingSeconds * 1000);
    const lost = () => {
      clearInterval(pings);
      clearTimeout(awaited);
      this.#lose(opened);
      socket.close();
    };
    socket.onerror = socket.onclose = lost;
    socket.onmessage = ({ data }) => {
      /** @type {ServerMessage | { type?: undefined }} */
      const message = JSON.parse(data);
      if (message.type === "pong") clearTimeout(awaited);
      else if (message.type !== undefined) this.#inboxes.get(message.id ?? "")?.push(message);
      // API Gateway's own errors do not name the message that they are about.
      else for (const inbox of this.#inboxes.values()) inbox.endUnlessAnswered(new Lost(data));
    };
  }

  /** @param {Promise<WebSocket> | null} socket @param {Error} [error] */
  #lose(socket, error = new Lost("the connection was lost")) {
    if (this.#socket !== socket) return;
    this.#socket = null;
    for (const inbox of this.#inboxes.values()) inbox.end(error);
  }
}

/** What was received of one turn, over all connections, and what was shown of it. */
class TurnText {
  /** @type {TurnId | null} */ id = null;
  /** @type {Map<number, Answer>} */ #answers = new Map();

  /** Another connection sends every answer from its beginning. */
  startOver() {
    for (const answer of this.#answers.values()) answer.clear();
  }

  /**
   * The events to show: deltas of an answer come once, in order and without a gap. Throws Lost after a gap.
   * @param {ServerMessage} message @returns {AsyncGenerator<TurnEvent, void, undefined>}
   */
  async *take(message) {
    if (message.type === "error") throw refusal(message.status, message.detail);
    if (message.type === "pong") return;
    if (message.type === "turn.started") {
      if (this.id) return;
      this.id = { session_id: message.session_id, turn_id: message.turn_id };
      for (const model of message.models) this.#answers.set(model.response_id, new Answer(model));
    }
    const answer = this.#answerOf(message);
    if (!answer) {
      if (message.type.startsWith("turn.")) yield message;
    } else if (!answer.hasEnded) yield* answer.take(message);
  }

  /** @param {TurnEvent} event */
  #answerOf(event) {
    if (event.type === "turn.started" || event.type === "turn.done") return undefined;
    if (event.type === "answer.failed") {
      return [...this.#answers.values()].find((each) => each.model.session_model_id === event.error.session_model_id);
    }
    return this.#answers.get(event.type === "answer.done" ? event.result.response_id : event.response_id);
  }
}

class Answer {
  hasEnded = false;
  #received = "";
  /** Of what was received, in code points. */
  #length = 0;
  #shown = "";

  /** @param {Messages["TurnModel"]} model */
  constructor(model) {
    this.model = model;
  }

  clear() {
    this.#received = "";
    this.#length = 0;
  }

  /** @param {TurnEvent} event @returns {AsyncGenerator<TurnEvent, void, undefined>} */
  async *take(event) {
    if (event.type === "answer.restarted") {
      this.clear();
      if (this.#shown) yield event;
      this.#shown = "";
      return;
    }
    if (event.type === "answer.delta") {
      if (event.offset !== this.#length) throw new Lost("a piece is missing");
      this.#received += event.text;
      this.#length += codePoints(event.text);
      const isKnown = this.#received.length < this.#shown.length && this.#shown.startsWith(this.#received);
      if (!isKnown) yield* this.#show(event);
      return;
    }
    if (event.type === "answer.done") {
      const digest = await sha256(this.#received);
      if (event.length !== this.#length || (digest !== null && event.sha256 !== digest)) throw new Lost("a piece is missing");
      yield* this.#show(event);
    }
    this.hasEnded = true;
    yield event;
  }

  /** What was received and not shown yet. @param {TurnEvent} event @returns {Generator<TurnEvent, void, undefined>} */
  *#show({ id, turn_id }) {
    const own = { id, turn_id, response_id: this.model.response_id };
    if (!this.#received.startsWith(this.#shown)) {
      // The model was asked anew while the connection was lost.
      yield { type: "answer.restarted", ...own };
      this.#shown = "";
    }
    const text = this.#received.slice(this.#shown.length);
    const offset = this.#length - codePoints(text);
    this.#shown = this.#received;
    if (text) yield { type: "answer.delta", ...own, offset, text };
  }
}

/** Messages that wait to be read. */
class Inbox {
  /** @type {ServerMessage[]} */ #messages = [];
  /** @type {unknown} */ #error;
  #hasEnded = false;
  #wasAnswered = false;
  #wake = () => {};

  /** @param {ServerMessage} message */
  push(message) {
    this.#wasAnswered = true;
    this.#messages.push(message);
    this.#wake();
  }

  /** @param {unknown} error */
  end(error) {
    this.#error = error;
    this.#hasEnded = true;
    this.#wake();
  }

  /** @param {unknown} error */
  endUnlessAnswered(error) {
    if (!this.#wasAnswered) this.end(error);
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      const message = this.#messages.shift();
      if (message) yield message;
      else if (this.#hasEnded) throw this.#error;
      else await /** @type {Promise<void>} */ (new Promise((wake) => (this.#wake = wake)));
    }
  }
}

/** What passes: the same message is sent again, or the turn followed, over another connection. */
class Lost extends ConnectionFailed {}

/** @param {number} status @param {unknown} detail */
function refusal(status, detail) {
  return status === 401 ? new Unauthorized(status, detail) : new PracticeError(status, detail);
}

/** @param {unknown} error */
function isPassing(error) {
  if (!(error instanceof PracticeError)) return error instanceof Lost;
  return error.status === 503 || PASSING.includes(String(error.detail));
}

/** @param {Action} action */
function isTooLong(action) {
  const longestId = "9007199254740991";
  return new TextEncoder().encode(JSON.stringify({ ...action, id: longestId })).length > LARGEST_MESSAGE;
}

/** @param {string} text */
function codePoints(text) {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** In hexadecimal. A page that came neither over https nor from localhost has no digests. @param {string} text */
async function sha256(text) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {number} seconds */
function sleep(seconds) {
  return /** @type {Promise<void>} */ (new Promise((done) => setTimeout(done, seconds * 1000)));
}
