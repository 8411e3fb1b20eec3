// The settings of a session, and the learner's library of examples with those that the session uses.

import { call } from "./service.mjs";

/** @typedef {import("./service.mjs").Schemas} Schemas */

const NUMBERS = ["temperature", "top_p", "max_completion_tokens"];

export class Settings {
  /** @type {Schemas["Settings"] | null} */ #shown = null;
  #changes = 0;

  /** @param {HTMLFormElement} form @param {(error: unknown) => void} report */
  constructor(form, report) {
    this.form = form;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", ({ target }) => {
      const field = /** @type {HTMLInputElement} */ (target);
      if (field.checkValidity()) this.#change(field).catch(report);
      else field.reportValidity();
    });
  }

  /** @param {Schemas["Settings"] | null} settings */
  show(settings) {
    this.#shown = settings;
    /** @type {Record<string, unknown>} */
    const values = { ...settings?.generation_params, style_preset: settings?.style_preset };
    for (const field of this.#fields()) {
      field.disabled = !settings;
      // What is being typed stays.
      if (field !== document.activeElement) field.value = String(values[field.name] ?? "");
    }
  }

  /** Sends what changed alone, so that changes of other fields elsewhere stay. @param {HTMLInputElement} field */
  async #change({ name, value }) {
    if (!this.#shown) return;
    const sent = value === "" ? null : NUMBERS.includes(name) ? Number(value) : value;
    const changes = name === "style_preset" ? { style_preset: sent } : { generation_params: { [name]: sent } };
    const { session_id } = this.#shown;
    const own = ++this.#changes;
    const changed = await call("PATCH", `/sessions/${session_id}/settings`, changes);
    // A later change has an answer of its own.
    if (own === this.#changes && this.#shown?.session_id === session_id) this.show(changed);
  }

  #fields() {
    return /** @type {HTMLInputElement[]} */ ([...this.form.querySelectorAll("input, select")]);
  }
}

export class Examples {
  /** @type {number | null} */ #sessionId = null;
  /** @type {number[]} */ #selected = [];
  #lists = 0;

  /** @param {HTMLUListElement} list @param {HTMLFormElement} form @param {(error: unknown) => void} report */
  constructor(list, form, report) {
    this.list = list;
    this.report = report;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add(form).catch(report);
    });
  }

  /** @param {Schemas["Settings"] | null} settings */
  async show(settings) {
    this.#sessionId = settings?.session_id ?? null;
    this.#selected = settings?.few_shot_links.map((link) => link.example_id) ?? [];
    await this.#read();
  }

  async #read() {
    const own = ++this.#lists;
    const { items } = await call("GET", "/few-shot-examples?size=50");
    // An older list that comes late would hide what was added since.
    if (own !== this.#lists) return;
    this.list.replaceChildren(...items.map((/** @type {Schemas["Example"]} */ each) => this.#item(each)));
  }

  /** @param {HTMLFormElement} form */
  async #add(form) {
    await call("POST", "/few-shot-examples", Object.fromEntries(new FormData(form)));
    form.reset();
    await this.#read();
  }

  /** @param {Schemas["Example"]} example */
  #item({ example_id, title, input_text, output_text }) {
    const item = document.createElement("li");
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox" });
    box.checked = this.#selected.includes(example_id);
    box.disabled = this.#sessionId === null;
    box.addEventListener("change", () => this.#select(example_id, box.checked).catch(this.report));
    const text = Object.assign(document.createElement("span"), { textContent: title || input_text });
    label.title = `${input_text}\n→ ${output_text}`;
    label.append(box, text);
    item.append(label);
    return item;
  }

  /** @param {number} exampleId @param {boolean} isSelected */
  async #select(exampleId, isSelected) {
    this.#selected = this.#selected.filter((each) => each !== exampleId);
    if (isSelected) this.#selected.push(exampleId);
    await call("PATCH", `/sessions/${this.#sessionId}/settings`, { few_shot_example_ids: this.#selected });
  }
}
