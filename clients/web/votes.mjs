// Votes for the best answer of a turn: blind before its models are revealed, or open. What many votes say is a table.

import { PracticeError } from "./live.mjs";
import { call } from "./service.mjs";
import { part } from "./turns.mjs";

/** @typedef {import("./service.mjs").Schemas} Schemas */

export class Ballot {
  /** By label: the answers as the service names them in its blind view. @type {Map<string, import("./turns.mjs").AnswerView>} */
  #labelled = new Map();

  /** @param {import("./turns.mjs").TurnView} turn */
  constructor(turn) {
    this.turn = turn;
    this.element = turn.element;
    part(this.element, ".vote").addEventListener("click", () => this.#attempt(() => this.#open()));
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (this.element.querySelectorAll(".tie"))) {
      const tie = button.dataset["tie"];
      button.addEventListener("click", () =>
        this.#attempt(() => this.#cast(this.turn.isBlind ? { tie, blind: true } : { tie })),
      );
    }
  }

  /** When the turn has ended: a blind one is voted on at once, another when the learner asks for it. */
  offer() {
    const answers = [...this.turn.answers.values()].filter((answer) => answer.isWhole);
    if (answers.length < 2) return this.turn.reveal();
    if (this.turn.isBlind) void this.#attempt(() => this.#label());
    else part(this.element, ".vote").hidden = false;
  }

  get #path() {
    return `/sessions/${this.turn.sessionId}/turns/${this.turn.id}`;
  }

  /** Puts the answers in the order of the service's labels, which says nothing. */
  async #label() {
    const left = [...this.turn.answers.values()];
    let cursor = "";
    do {
      const shown = await call("GET", `${this.#path}/blind${cursor && `?cursor=${encodeURIComponent(cursor)}`}`);
      for (const { label, response_text } of shown.answers) {
        // Which of two equal texts it is shows when the models are revealed.
        const [found] = left.splice(left.findIndex((answer) => answer.text === response_text), 1);
        if (found) this.#labelled.set(label, found);
      }
      cursor = shown.next_cursor ?? "";
    } while (cursor);
    for (const [label, answer] of this.#labelled) {
      answer.setName(label);
      answer.element.parentElement?.append(answer.element);
      this.#onBest(answer, { label });
    }
    part(this.element, ".ballot").hidden = false;
  }

  async #open() {
    part(this.element, ".vote").hidden = true;
    const vote = await call("GET", `${this.#path}/vote`).catch((error) => {
      if (error instanceof PracticeError && error.status === 404) return null;
      throw error;
    });
    if (vote) this.#show(vote);
    for (const [response_id, answer] of this.turn.answers) if (answer.isWhole) this.#onBest(answer, { response_id });
    part(this.element, ".ballot").hidden = false;
  }

  /** @param {import("./turns.mjs").AnswerView} answer @param {object} choice */
  #onBest(answer, choice) {
    const button = part(answer.element, ".best");
    button.hidden = false;
    button.onclick = () => this.#attempt(() => this.#cast(choice));
  }

  /** @param {object} choice */
  async #cast(choice) {
    this.#show(await call("PUT", `${this.#path}/vote`, choice));
    part(this.element, ".vote").hidden = false;
    this.turn.actions.voted();
  }

  /** @param {Schemas["Vote"]} vote */
  #show(vote) {
    this.turn.reveal();
    for (const { label, response_id } of vote.revealed) {
      const answer = this.turn.answers.get(response_id);
      if (vote.blind) answer?.addBadge(label);
      if (vote.winner === response_id) answer?.addBadge("best");
    }
    if (vote.tie) part(this.element, ".state").textContent = `all equally ${vote.tie}`;
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (this.element.querySelectorAll(".best"))) button.hidden = true;
    part(this.element, ".ballot").hidden = true;
  }

  /** @param {() => Promise<void>} act */
  async #attempt(act) {
    try {
      await act();
    } catch (error) {
      this.turn.reveal();
      this.turn.actions.report(error);
    }
  }
}

/** How the models of a class compare. @param {HTMLTableElement} table @param {HTMLElement} none @param {number} classId */
export async function showStandings(table, none, classId) {
  const { models } = await call("GET", `/standings?class_id=${classId}`);
  none.hidden = models.length > 0;
  table.hidden = models.length === 0;
  const rows = models.map((/** @type {Schemas["ModelStanding"]} */ each) => {
    const row = document.createElement("tr");
    const score = each.score === null ? "–" : `${each.score} (${each.low} to ${each.high})`;
    const counts = `${each.wins}, ${each.ties}, ${each.losses}`;
    for (const text of [each.model_name, score, counts]) row.insertCell().textContent = text;
    return row;
  });
  table.tBodies[0]?.replaceChildren(...rows);
}
