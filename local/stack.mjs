// On the page of the local stack: a token for a learner, which `make token` would print.

const form = /** @type {HTMLFormElement} */ (document.getElementById("learner"));
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ user_id: Number(new FormData(form).get("user_id")) });
  const response = await fetch("/_local/token", { method: "POST", headers: { "content-type": "application/json" }, body });
  const answer = await response.json();
  const field = /** @type {HTMLInputElement} */ (document.getElementById("token"));
  field.value = answer.token ?? "";
  if (response.ok) /** @type {HTMLFormElement} */ (field.form).requestSubmit();
});
