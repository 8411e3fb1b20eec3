// A sample session of a learner. Run it with BASE_URL and TOKEN; it prints its results as one line of JSON.

import { each, practice, type Schemas } from "./practice.mjs";

declare const process: { env: Record<string, string | undefined> };

const { BASE_URL = "http://127.0.0.1:3000", TOKEN = "" } = process.env;
const client = practice({ baseUrl: BASE_URL, token: () => TOKEN });

const { data: session, error: refused, response } = await client.POST("/user/practice/sessions", {
  body: { class_id: 101, title: "Kind and short" } satisfies Schemas["NewSession"],
});
if (!session) throw new Error(`${response.status} ${JSON.stringify(refused)}`);
const path = { session_id: session.session_id };
const etag = response.headers.get("etag") ?? "";

const settings = await client.PATCH("/user/practice/sessions/{session_id}/settings", {
  params: { path },
  body: { style_preset: "accurate", generation_params: { temperature: 0.2, seed: 7 } },
});

const turn = await client.POST("/user/practice/sessions/{session_id}/chat", {
  params: { path },
  body: { prompt_text: "Say it in one word." },
});
const answers = turn.data && "results" in turn.data ? turn.data.results.map((each) => each.model_name) : [];

for (const input_text of ["1+1", "2+2", "3+3"]) {
  await client.POST("/user/practice/few-shot-examples", { body: { input_text, output_text: "a number" } });
}
const library: string[] = [];
for await (const example of each((cursor) =>
  client.GET("/user/practice/few-shot-examples", { params: { query: { size: 2, cursor } } }),
)) {
  library.push(example.input_text);
}

// Another client changes the session, so the version that this client knows is outdated.
await client.PATCH("/user/practice/sessions/{session_id}", { params: { path }, body: { notes: "Seen" } });
const late = await client.PATCH("/user/practice/sessions/{session_id}", {
  params: { path, header: { "If-Match": etag } },
  body: { title: "Too late" },
});

const wrong = await client.POST("/user/practice/sessions", { body: { class_id: -1 } });
const problems =
  wrong.error && "detail" in wrong.error && Array.isArray(wrong.error.detail)
    ? wrong.error.detail.map((problem) => problem.loc.join("."))
    : [];

const { data: listed } = await client.GET("/user/practice/sessions", {
  params: { query: { expand: ["settings", "responses"] } },
});
const [first] = listed?.items ?? [];

console.log(
  JSON.stringify({
    opened: response.status,
    temperature: settings.data?.generation_params["temperature"],
    answers,
    library,
    late: [late.response.status, late.error && "detail" in late.error ? late.error.detail : null],
    problems: [wrong.response.status, ...problems],
    embedded: first !== undefined && "settings" in first && "responses" in first ? first.responses.length : null,
  }),
);
