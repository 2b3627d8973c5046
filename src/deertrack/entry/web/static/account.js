// The pages /account and /users: the API's accounts and tokens.
import { api, ask, complain, el, toast, toastNext } from "/static/app.js";

const $ = (id) => document.getElementById(id);

/** Do something, then show the page as it is now, and say so; false if it went wrong. */
async function then(text, work) {
  try {
    await work();
  } catch (error) {
    complain(error);
    return false;
  }
  toastNext(text);
  location.reload();
  return true;
}

$("password-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  $("again").setCustomValidity($("new").value === $("again").value ? "" : "The two differ.");
  if (!event.target.reportValidity()) return;
  const body = { current: $("current").value, new: $("new").value };
  then("Your password is another one now.", () => api("PUT", "/api/v1/session/password", { body }));
});
$("again")?.addEventListener("input", () => $("again").setCustomValidity(""));

$("token-form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = { label: $("label").value, days: $("days").value ? Number($("days").value) : null };
  try {
    $("secret").value = (await api("POST", "/api/v1/tokens", { body })).data.secret;
  } catch (error) {
    complain(error);
    return;
  }
  $("made").hidden = false;
  $("secret").focus();
  $("secret").select();
});

for (const button of document.querySelectorAll("[data-revoke]")) {
  button.addEventListener("click", async () => {
    try {
      await api("DELETE", `/api/v1/tokens/${button.dataset.revoke}`);
    } catch (error) {
      complain(error);
      return;
    }
    button.closest("tr").remove();
    toast("Revoked. Scripts that use it are refused from now on.");
  });
}

for (const row of document.querySelectorAll("[data-user]")) {
  const change = (text, body) => then(text, () => api("PATCH", `/api/v1/users/${row.dataset.user}`, { body }));
  const { name } = row.dataset;
  const role = row.querySelector("[data-role]");
  const before = role.value;
  role.addEventListener("change", async () => {
    if (!(await change(`${name} is ${role.value} now.`, { role: role.value }))) role.value = before;
  });
  row.querySelector("[data-enable]").addEventListener("click", (event) => {
    const enabled = event.currentTarget.dataset.enable === "true";
    change(enabled ? `${name} can log in again.` : `${name} cannot log in any more.`, { enabled });
  });
  row.querySelector("[data-password]").addEventListener("click", async () => {
    const { minLength } = $("password");
    const input = el("input", { type: "password", minlength: minLength, autocomplete: "new-password", required: true, autofocus: true });
    const body = el("label", { class: "field" }, el("span", {}, `New password, at least ${minLength} characters`), input);
    if (await ask(`New password for ${name}`, { body, yes: "Set password" })) {
      change(`${name} has a new password.`, { password: input.value });
    }
  });
}

$("add")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = { name: $("name").value, role: $("role").value, password: $("password").value };
  then(`${body.name} can log in as ${body.role}.`, () => api("POST", "/api/v1/users", { body }));
});
