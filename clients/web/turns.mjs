// A turn on the page: its prompt, and the answers of its models side by side, which grow while they are written.

/**
 * @typedef {import("./live.mjs").TurnEvent} TurnEvent
 * @typedef {import("./service.mjs").Schemas} Schemas
 * @typedef {Schemas["TurnModel"]} Model
 * @typedef {{ again: (turn: TurnView) => void, edit: (turn: TurnView) => void }} Actions
 */

export class TurnView {
  /** @type {number | null} */ id = null;
  /** @type {Schemas["TurnStatus"]} */ status = "queued";
  /** @type {Map<number, AnswerView>} */ #answers = new Map();
  #sentAt = performance.now();

  /** @param {string} prompt @param {Actions} actions */
  constructor(prompt, actions) {
    this.prompt = prompt;
    this.element = clone("turn-template");
    part(this.element, ".prompt").textContent = prompt;
    part(this.element, ".again").addEventListener("click", () => actions.again(this));
    part(this.element, ".edit").addEventListener("click", () => actions.edit(this));
    this.#setStatus("queued");
  }

  get isRunning() {
    return this.status === "queued" || this.status === "running";
  }

  /** A stored turn. @param {Schemas["Turn"]} turn @param {Actions} actions */
  static of(turn, actions) {
    const view = new TurnView(turn.prompt_text, actions);
    view.id = turn.turn_id;
    view.#ask(turn.asked);
    if (turn.status !== "queued" && turn.status !== "running") {
      for (const result of turn.results) view.#answers.get(result.response_id)?.write(result.response_text, 0);
      for (const result of turn.results) view.#answers.get(result.response_id)?.done(result);
      for (const error of turn.errors) view.#failed(error);
    }
    view.#setStatus(turn.status);
    return view;
  }

  /** @param {TurnEvent} event */
  show(event) {
    switch (event.type) {
      case "turn.started":
        this.id = event.turn_id;
        this.#ask(event.models);
        return this.#setStatus("running");
      case "answer.delta":
        return this.#answers.get(event.response_id)?.write(event.text, performance.now() - this.#sentAt);
      case "answer.restarted":
        return this.#answers.get(event.response_id)?.clear();
      case "answer.done":
        return this.#answers.get(event.result.response_id)?.done(event.result);
      case "answer.failed":
        return this.#failed(event.error);
      case "turn.done":
        return this.#setStatus(event.status);
    }
  }

  /** Instead of the answers that will not come. @param {string} problem */
  fail(problem) {
    this.#setStatus("failed");
    part(this.element, ".state").textContent = problem;
  }

  /** @param {Model[]} models */
  #ask(models) {
    if (this.#answers.size) return;
    for (const model of models) {
      const answer = new AnswerView(model);
      this.#answers.set(model.response_id, answer);
      part(this.element, ".answers").append(answer.element);
    }
  }

  /** @param {Schemas["TurnError"]} error */
  #failed(error) {
    for (const answer of this.#answers.values()) {
      if (answer.model.session_model_id === error.session_model_id) answer.fail(error);
    }
  }

  /** @param {Schemas["TurnStatus"]} status */
  #setStatus(status) {
    this.status = status;
    this.element.dataset["status"] = status;
    this.element.setAttribute("aria-busy", String(this.isRunning));
    part(this.element, ".state").textContent = status === "done" ? "" : status;
    for (const name of [".again", ".edit"]) part(this.element, name).hidden = this.isRunning;
    if (!this.isRunning) for (const answer of this.#answers.values()) answer.stop();
  }
}

class AnswerView {
  #text = document.createTextNode("");
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    this.element = clone("answer-template");
    this.element.classList.add("writing");
    part(this.element, "h3").textContent = model.model_name;
    if (model.is_primary) part(this.element, "h3").append(badge("primary"));
    part(this.element, ".text").append(this.#text);
    part(this.element, ".text").setAttribute("aria-label", `Answer of ${model.model_name}`);
    part(this.element, ".figures").textContent = "waiting for the first word";
  }

  /** @param {string} text @param {number} after  Milliseconds after the prompt was sent. */
  write(text, after) {
    if (!this.#text.length) part(this.element, ".figures").textContent = `first word after ${seconds(after)}`;
    this.#text.appendData(text);
  }

  clear() {
    this.#text.data = "";
    part(this.element, ".figures").textContent = "asked again";
  }

  /** @param {import("./live.mjs").Messages["LiveResult"]} result */
  done({ token_usage, latency_ms }) {
    const usage = /** @type {Record<string, any>} */ (token_usage ?? {});
    const { finish_reason, first_token_ms } = usage["_gf"] ?? {};
    const figures = [
      usage["completion_tokens"] != null && `${usage["completion_tokens"]} tokens`,
      first_token_ms != null && `first word after ${seconds(first_token_ms)}`,
      latency_ms !== null && `${seconds(latency_ms)} in all`,
      finish_reason && finish_reason !== "stop" && `ended by ${finish_reason}`,
    ];
    part(this.element, ".figures").textContent = figures.filter(Boolean).join(" · ");
    this.stop();
  }

  /** @param {Schemas["TurnError"]} error */
  fail({ code, detail }) {
    this.#text.data = "";
    part(this.element, ".problem").textContent = `${code}: ${detail}`;
    part(this.element, ".problem").hidden = false;
    part(this.element, ".figures").textContent = "";
    this.stop();
  }

  stop() {
    this.element.classList.remove("writing");
  }
}

/** @param {number} milliseconds */
function seconds(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** @param {string} text */
function badge(text) {
  const made = document.createElement("span");
  made.className = "badge";
  made.textContent = text;
  return made;
}

/** @param {string} id @returns {HTMLElement} */
function clone(id) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
  return /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
}

/** @param {HTMLElement} element @param {string} selector @returns {HTMLElement} */
function part(element, selector) {
  return /** @type {HTMLElement} */ (element.querySelector(selector));
}
