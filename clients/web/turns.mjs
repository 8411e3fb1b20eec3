// A turn on the page: its prompt, and the answers of its models side by side, which grow while they are written.

import { Ballot } from "./votes.mjs";

/**
 * @typedef {import("./live.mjs").TurnEvent} TurnEvent
 * @typedef {import("./service.mjs").Schemas} Schemas
 * @typedef {Schemas["TurnModel"]} Model
 * @typedef {object} Actions
 * @property {(turn: TurnView) => void} again
 * @property {(turn: TurnView) => void} edit
 * @property {(turn: TurnView, step: number) => void} turnTo  The version of this turn that is so many steps away.
 * @property {() => void} voted
 * @property {(error: unknown) => void} report
 */

export class TurnView {
  /** @type {number | null} */ id = null;
  /** @type {Schemas["TurnStatus"]} */ status = "queued";
  /** @type {Map<number, AnswerView>} */ answers = new Map();
  #sentAt = performance.now();

  /**
   * @param {{ session_id: number, prompt_text: string, after_turn_id: number | null }} turn
   * @param {Actions} actions @param {boolean} [isBlind]  Hides the models until the learner has voted.
   */
  constructor({ session_id, prompt_text, after_turn_id }, actions, isBlind = false) {
    this.sessionId = session_id;
    this.prompt = prompt_text;
    this.afterId = after_turn_id;
    this.actions = actions;
    this.isBlind = isBlind;
    this.element = clone("turn-template");
    this.element.classList.toggle("blind", isBlind);
    part(this.element, ".prompt").textContent = prompt_text;
    this.#onClick(".again", () => actions.again(this));
    this.#onClick(".edit", () => actions.edit(this));
    this.#onClick(".older", () => actions.turnTo(this, -1));
    this.#onClick(".newer", () => actions.turnTo(this, 1));
    this.ballot = new Ballot(this);
    this.#setStatus("queued");
  }

  get isRunning() {
    return this.status === "queued" || this.status === "running";
  }

  /** A stored turn. @param {Schemas["Turn"]} turn @param {Actions} actions */
  static of(turn, actions) {
    const view = new TurnView(turn, actions);
    view.id = turn.turn_id;
    view.#ask(turn.asked);
    if (turn.status !== "queued" && turn.status !== "running") {
      for (const result of turn.results) {
        view.answers.get(result.response_id)?.write(result.response_text, 0);
        view.answers.get(result.response_id)?.done(result);
      }
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
        return this.answers.get(event.response_id)?.write(event.text, performance.now() - this.#sentAt);
      case "answer.restarted":
        return this.answers.get(event.response_id)?.clear();
      case "answer.done":
        return this.answers.get(event.result.response_id)?.done(event.result);
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

  /** Which of several versions it is: those that follow the same turn. @param {number} place @param {number} count */
  showPlace(place, count) {
    part(this.element, ".siblings").hidden = count < 2;
    part(this.element, ".place").textContent = `${place} of ${count}`;
    /** @type {HTMLButtonElement} */ (part(this.element, ".older")).disabled = place === 1;
    /** @type {HTMLButtonElement} */ (part(this.element, ".newer")).disabled = place === count;
  }

  /** Shows who wrote what. */
  reveal() {
    this.isBlind = false;
    this.element.classList.remove("blind");
    for (const answer of this.answers.values()) answer.setName(answer.model.model_name);
  }

  /** @param {Model[]} models */
  #ask(models) {
    if (this.answers.size) return;
    for (const model of models) this.answers.set(model.response_id, new AnswerView(model, this.isBlind));
    const shown = [...this.answers.values()].map((answer) => answer.element);
    if (this.isBlind) shuffle(shown);
    part(this.element, ".answers").append(...shown);
  }

  /** @param {Schemas["TurnError"]} error */
  #failed(error) {
    for (const answer of this.answers.values()) {
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
    if (this.isRunning) return;
    for (const answer of this.answers.values()) answer.stop();
    this.ballot.offer();
  }

  /** @param {string} selector @param {() => void} act */
  #onClick(selector, act) {
    part(this.element, selector).addEventListener("click", act);
  }
}

export class AnswerView {
  isWhole = false;
  #text = document.createTextNode("");

  /** @param {Model} model @param {boolean} isBlind */
  constructor(model, isBlind) {
    this.model = model;
    this.element = clone("answer-template");
    this.element.classList.add("writing");
    part(this.element, ".text").append(this.#text);
    this.setName(isBlind ? "A model" : model.model_name);
    if (model.is_primary && !isBlind) part(this.element, "h3").append(badge("primary"));
    part(this.element, ".figures").textContent = "waiting for the first word";
  }

  get text() {
    return this.#text.data;
  }

  /** @param {string} name */
  setName(name) {
    part(this.element, "h3").textContent = name;
    part(this.element, ".text").setAttribute("aria-label", `Answer of ${name}`);
  }

  /** @param {string} text */
  addBadge(text) {
    part(this.element, "h3").append(badge(text));
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
    this.isWhole = true;
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

/** @param {unknown[]} items */
function shuffle(items) {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    [items[last], items[other]] = [items[other], items[last]];
  }
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
export function part(element, selector) {
  return /** @type {HTMLElement} */ (element.querySelector(selector));
}
