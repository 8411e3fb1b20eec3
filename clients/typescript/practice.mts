// A typed client of the Practice API: openapi-fetch over the types that `make client-ts` writes from openapi.json.

import createClient, { type Client, type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type Practice = Client<paths>;

/**
 * The objects of the contract by name. `{ title: "x" } satisfies Schemas["SessionChanges"]` detects a misspelled field.
 * TypeScript does not check it in an argument of a generic function, and the service ignores it.
 */
export type Schemas = components["schemas"];

export interface Options {
  baseUrl: string;
  /** Returns a valid token; called before every request. */
  token: () => string | Promise<string>;
  /** Maximum number of attempts per request. */
  tries?: number;
  pause?: (seconds: number) => Promise<void>;
}

const sleep = (seconds: number) => new Promise<void>((done) => setTimeout(done, seconds * 1000));

/**
 * Sends the token, and an Idempotency-Key with every POST. After 429, 503, and 409 with Retry-After, the request is repeated
 * when these seconds have passed. A change with If-Match is repeated only after 429: after 503 it may have taken effect, and
 * would then fail on its own version.
 */
export function practice({ baseUrl, token, tries = 4, pause = sleep }: Options): Practice {
  const patient = async (request: Request): Promise<Response> => {
    for (let attempt = 1; ; attempt++) {
      const response = await fetch(request.clone());
      const asked = response.headers.get("retry-after");
      const isWorthIt =
        response.status === 429 ||
        (response.status === 503 && !request.headers.has("if-match")) ||
        (response.status === 409 && asked !== null);
      if (!isWorthIt || attempt >= tries || Number(asked) > 60) return response;
      await pause(Number(asked) + Math.random() * Math.min(8, 0.25 * 2 ** attempt));
    }
  };
  const authorized: Middleware = {
    async onRequest({ request }) {
      request.headers.set("authorization", `Bearer ${await token()}`);
      if (request.method === "POST" && !request.headers.has("idempotency-key")) {
        request.headers.set("idempotency-key", crypto.randomUUID());
      }
      return request;
    },
  };
  // The last of repeated parameters wins, so a list is one parameter, separated by commas.
  const client = createClient<paths>({
    baseUrl,
    fetch: patient,
    querySerializer: { array: { style: "form", explode: false } },
  });
  client.use(authorized);
  return client;
}

/** Every item of a list, over all pages: `get` requests the page of a cursor, or the first page. */
export async function* each<Item>(
  get: (cursor?: string) => Promise<{ data?: { items: Item[]; next_cursor: string | null }; error?: unknown }>,
): AsyncGenerator<Item> {
  let cursor: string | null | undefined;
  do {
    const { data, error } = await get(cursor ?? undefined);
    if (!data) throw new Error(`the list ended early: ${JSON.stringify(error)}`);
    yield* data.items;
    cursor = data.next_cursor;
  } while (cursor);
}
