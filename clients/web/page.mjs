// The page: the sessions of a learner, and one of them with its turns, its settings and the examples at hand.

import { PracticeError, Unauthorized } from "./live.mjs";
import { call, live, token, withHeaders } from "./service.mjs";
import { Examples, Settings } from "./panels.mjs";
import { part, TurnView } from "./turns.mjs";
import { showStandings } from "./votes.mjs";

/** @typedef {import("./service.mjs").Schemas} Schemas */

const TURNS_SHOWN = 50;

const page = {
  access: byId("access", HTMLFormElement),
  token: byId("token", HTMLInputElement),
  newSession: byId("new-session", HTMLFormElement),
  sessions: byId("sessions", HTMLUListElement),
  title: byId("title", HTMLHeadingElement),
  turns: byId("turns", HTMLOListElement),
  empty: byId("empty", HTMLParagraphElement),
  composer: byId("composer", HTMLFormElement),
  editing: byId("editing", HTMLParagraphElement),
  models: byId("models", HTMLFieldSetElement),
  blind: byId("blind", HTMLInputElement),
  prompt: byId("prompt", HTMLTextAreaElement),
  send: byId("send", HTMLButtonElement),
  stop: byId("stop", HTMLButtonElement),
  notice: byId("notice", HTMLParagraphElement),
  status: byId("status", HTMLParagraphElement),
  standingsPanel: byId("standings-panel", HTMLDetailsElement),
  standings: byId("standings", HTMLTableElement),
  noStandings: byId("no-standings", HTMLParagraphElement),
  usage: byId("usage", HTMLParagraphElement),
};

/** @type {Schemas["Session"] | null} */
let session = null;
/** The turns of the session, in the order in which they began; several may follow the same one. @type {TurnView[]} */
let turns = [];
/** The last of those that are shown: this one, and those that it follows. @type {TurnView | null} */
let leaf = null;
/** @type {TurnView | null} */
let running = null;
/** The turn that the next prompt replaces. @type {TurnView | null} */
let edited = null;
/** Ends what the page shows of the turn of another session. */
let leaving = new AbortController();

const settings = new Settings(byId("settings", HTMLFormElement), report);
const examples = new Examples(byId("examples", HTMLUListElement), byId("new-example", HTMLFormElement), report);

// Sessions

async function listSessions() {
  const { items } = await call("GET", "/sessions?size=30&sort=activity");
  page.sessions.replaceChildren(...items.map(sessionItem));
}

/** @param {Schemas["OwnSession"]} listed */
function sessionItem(listed) {
  const item = document.createElement("li");
  const open = button(listed.title || "Untitled", () => openSession(listed.session_id));
  open.className = "name";
  if (listed.session_id === session?.session_id) open.setAttribute("aria-current", "true");
  const remove = button("Delete", async () => {
    if (remove.textContent === "Delete") {
      remove.textContent = "Delete for good";
      return;
    }
    await call("DELETE", `/sessions/${listed.session_id}`);
    if (listed.session_id === session?.session_id) closeSession();
    await listSessions();
  });
  remove.className = "quiet";
  remove.addEventListener("blur", () => (remove.textContent = "Delete"));
  item.append(open, remove);
  return item;
}

/** @type {Promise<void> | null} */
let making = null;

/** Once, however often it is asked for until it is there. */
function newSession() {
  making ??= makeSession().finally(() => (making = null));
  return making;
}

async function makeSession() {
  const classId = new FormData(page.newSession).get("class_id");
  const made = await call("POST", "/sessions", { class_id: Number(classId) });
  await openSession(made.session_id);
}

/** @param {number} sessionId */
async function openSession(sessionId) {
  closeSession();
  const { signal } = leaving;
  const path = `/sessions/${sessionId}`;
  const [opened, models, listed] = await Promise.all([
    call("GET", `${path}?responses=0`),
    call("GET", `${path}/models`),
    call("GET", `${path}/turns?size=${TURNS_SHOWN}`),
  ]);
  if (signal.aborted) return;
  session = /** @type {Schemas["Session"]} */ (opened);
  history.replaceState(null, "", `#session=${sessionId}`);
  showTitle(opened.title);
  showModels(models);
  settings.show(opened.settings);
  const { items } = /** @type {Schemas["TurnPage"]} */ (listed);
  turns = items.map((turn) => TurnView.of(turn, actions));
  const last = turns.at(-1) ?? null;
  showTurns(last);
  page.prompt.focus();
  if (last?.isRunning && last.id) {
    const events = live.follow({ session_id: sessionId, turn_id: last.id }, { signal });
    void attempt(() => show(last, events));
  }
  showUsage().catch(report);
  await Promise.all([listSessions(), examples.show(opened.settings), standings()]);
}

function closeSession() {
  leaving.abort();
  leaving = new AbortController();
  session = null;
  turns = [];
  setRunning(null);
  edit(null);
  history.replaceState(null, "", location.pathname);
  showTitle(null, "New session");
  showTurns(null);
  page.models.hidden = true;
  settings.show(null);
  report(null);
}

/** @param {string | null} title @param {string} [otherwise] */
function showTitle(title, otherwise = "Untitled") {
  page.title.textContent = title || otherwise;
}

/** @param {Schemas["SessionModel"][]} models */
function showModels(models) {
  page.models.hidden = models.length < 2;
  const boxes = models.map(({ model_name }) => {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true, value: model_name });
    label.append(box, ` ${model_name}`);
    return label;
  });
  page.models.replaceChildren(...page.models.querySelectorAll("legend"), ...boxes);
}

function chosenModels() {
  const boxes = [...page.models.querySelectorAll("input")];
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  return chosen.length && chosen.length < boxes.length ? chosen : null;
}

// Turns

const actions = {
  /** The same prompt at the same place. @param {TurnView} turn */
  again: (turn) => void attempt(() => ask(turn.prompt, turn.afterId)),
  /** @param {TurnView} turn */
  edit: (turn) => edit(turn),
  turnTo,
  voted: () => void attempt(standings),
  report,
};

/** @param {TurnView} turn */
function versionsOf(turn) {
  return turns.filter((each) => each.afterId === turn.afterId);
}

/** Shows a turn and those that it follows. @param {TurnView | null} last */
function showTurns(last) {
  leaf = last;
  const path = [];
  for (let turn = last; turn; turn = turns.find(({ id }) => id !== null && id === turn?.afterId) ?? null) path.unshift(turn);
  page.turns.replaceChildren(...path.map((turn) => turn.element));
  page.empty.hidden = path.length > 0;
  for (const turn of path) turn.showPlace(versionsOf(turn).indexOf(turn) + 1, versionsOf(turn).length);
}

/** Shows another version of a turn, with the latest of what followed it. @param {TurnView} turn @param {number} step */
function turnTo(turn, step) {
  const versions = versionsOf(turn);
  const chosen = versions[versions.indexOf(turn) + step];
  if (!chosen) return;
  let last = chosen;
  for (let next; (next = turns.findLast(({ afterId }) => last.id !== null && afterId === last.id)); ) last = next;
  showTurns(last);
  for (const name of [".older", ".newer"].slice(step < 0 ? 0 : -1)) part(chosen.element, name).focus();
}

/** @param {TurnView | null} turn */
function edit(turn) {
  edited = turn;
  page.editing.hidden = turn === null;
  if (!turn) return;
  page.prompt.value = turn.prompt;
  page.prompt.focus();
}

/** After the turn that is shown last, unless another place is meant. @param {string} prompt @param {number | null} [afterId] */
async function ask(prompt, afterId) {
  if (running) return;
  if (making || !session) await newSession();
  if (!session || running) return;
  if (afterId === undefined) afterId = leaf && (leaf.id ?? leaf.afterId);
  const asked = { session_id: session.session_id, prompt_text: prompt, after_turn_id: afterId };
  const turn = new TurnView(asked, actions, page.blind.checked);
  turns.push(turn);
  showTurns(turn);
  await show(turn, live.chat({ ...asked, model_names: chosenModels() }, { signal: leaving.signal }));
}

/**
 * Shows a turn while it is written.
 * @param {TurnView} turn @param {AsyncIterable<import("./live.mjs").TurnEvent>} events
 */
async function show(turn, events) {
  const { signal } = leaving;
  setRunning(turn);
  turn.element.scrollIntoView({ block: "end" });
  try {
    for await (const event of events) {
      const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
      turn.show(event);
      if (atEnd) scrollTo({ top: document.documentElement.scrollHeight });
      if (event.type === "answer.done") say(`${turn.isBlind ? "A model" : event.result.model_name} has answered`);
      if (event.type === "answer.failed") say(`${event.error.model_name} has no answer`);
      if (event.type === "turn.done") showTitle(event.session_title);
    }
  } catch (error) {
    if (signal.aborted) return;
    turn.fail(describe(error));
    throw error;
  } finally {
    if (running === turn) setRunning(null);
  }
  showUsage().catch(report);
  if (!session?.title) await awaitTitle(signal);
}

// What many turns add up to

async function standings() {
  if (page.standingsPanel.open && session?.class_id) await showStandings(page.standings, page.noStandings, session.class_id);
}

async function showUsage() {
  const today = new Date().toISOString().slice(0, 10);
  const ofClass = session?.class_id ? `&class_id=${session.class_id}` : "";
  const { answer, headers } = await withHeaders("GET", `/usage?from=${today}${ofClass}`);
  const { total } = /** @type {Schemas["Usage"]} */ (answer);
  const tokens = (total.prompt_tokens + total.completion_tokens).toLocaleString();
  const cost = total.cost_usd === null ? "" : ` · $${total.cost_usd}`;
  const spent = `Today: ${turnsOf(total.turns)} · ${tokens} tokens${cost}`;
  page.usage.textContent = [spent, left(headers.get("ratelimit") ?? "")].filter(Boolean).join(" · ");
  page.usage.hidden = false;
}

/** @param {number} count */
function turnsOf(count) {
  return `${count} ${count === 1 ? "turn" : "turns"}`;
}

/** What the budgets of the learner and of the class leave, of two of a kind the smaller. @param {string} rateLimit */
function left(rateLimit) {
  /** @type {Map<string, number>} */
  const budgets = new Map();
  for (const [, kind = "", remaining] of rateLimit.matchAll(/"(?:class-)?daily-(\w+)";r=(\d+)/g)) {
    budgets.set(kind, Math.min(Number(remaining), budgets.get(kind) ?? Infinity));
  }
  const shown = [...budgets].map(([kind, remaining]) => {
    if (kind === "turns") return turnsOf(remaining);
    return kind === "tokens" ? `${remaining.toLocaleString()} tokens` : `$${(remaining / 1e6).toFixed(4)}`;
  });
  return shown.length ? `left: ${shown.join(", ")}` : "";
}

/** A session gets its title soon after its first answer. @param {AbortSignal} signal */
async function awaitTitle(signal) {
  for (const wait of [1000, 3000]) {
    await new Promise((done) => setTimeout(done, wait));
    if (signal.aborted || !session) return;
    const { title } = await call("GET", `/sessions/${session.session_id}?responses=0`);
    if (signal.aborted) return;
    if (title) {
      session.title = title;
      showTitle(title);
      return listSessions();
    }
  }
}

/** @param {TurnView | null} turn */
function setRunning(turn) {
  running = turn;
  page.send.disabled = turn !== null;
  page.stop.hidden = turn === null;
  page.stop.disabled = false;
}

async function stop() {
  if (!running?.id || !session) return;
  page.stop.disabled = true;
  try {
    await live.cancel({ session_id: session.session_id, turn_id: running.id });
  } catch (error) {
    // It may have ended by itself in the meantime.
    if (!(error instanceof PracticeError && error.status === 409)) throw error;
  }
}

// What went wrong

/** @param {unknown} error */
function describe(error) {
  if (error instanceof Unauthorized) return "The token is not accepted.";
  if (error instanceof PracticeError && error.detail === "daily_budget_spent") {
    const midnight = new Date(new Date().setUTCHours(24, 0, 0, 0));
    return `The budget of this day is spent. The next one begins at ${midnight.toLocaleTimeString([], { timeStyle: "short" })}.`;
  }
  if (error instanceof PracticeError) return `The service refuses this: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

/** @param {unknown} error  null when all is well. */
function report(error) {
  page.notice.hidden = error === null;
  page.notice.textContent = error === null ? "" : describe(error);
  if (error instanceof Unauthorized) page.token.focus();
}

/** @param {string} text  For a screen reader. */
function say(text) {
  page.status.textContent = text;
}

// The page itself

/** @template {HTMLElement} E @param {string} id @param {new () => E} kind @returns {E} */
function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`no ${id}`);
  return found;
}

/** @param {string} text @param {() => unknown} act */
function button(text, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.addEventListener("click", () => attempt(act));
  return made;
}

/** @param {() => unknown} act */
async function attempt(act) {
  report(null);
  try {
    await act();
  } catch (error) {
    report(error);
  }
}

/** @param {HTMLFormElement} form @param {() => unknown} act */
function onSubmit(form, act) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(act);
  });
}

async function start() {
  closeSession();
  const { signal } = leaving;
  if (!token.get()) return page.token.focus();
  const [, asked] = location.hash.match(/^#session=(\d+)$/) ?? wanted;
  showUsage().catch(report);
  await Promise.all([listSessions(), examples.show(null)]);
  if (signal.aborted) return;
  if (asked) await openSession(Number(asked));
  else page.prompt.focus();
}

const wanted = location.hash.match(/^#session=(\d+)$/) ?? [];
page.token.value = token.get();
onSubmit(page.access, () => {
  token.set(page.token.value);
  return start();
});
onSubmit(page.newSession, newSession);
onSubmit(page.composer, () => {
  const prompt = page.prompt.value;
  if (!prompt.trim() || running) return;
  const place = edited;
  page.prompt.value = "";
  edit(null);
  return place ? ask(prompt, place.afterId) : ask(prompt);
});
part(page.editing, "button").addEventListener("click", () => edit(null));
page.standingsPanel.addEventListener("toggle", () => attempt(standings));
page.stop.addEventListener("click", () => attempt(stop));
page.prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) page.composer.requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) void attempt(stop);
});
void attempt(start);
