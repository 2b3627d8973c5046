// The page /versions: cut over, try out, go back. Each is confirmed by typing the version's name.
import { api, ask, complain, el, toastNext } from "/static/app.js";

const field = (label, input) => el("label", { class: "field" }, el("span", {}, label), input);

/** Ask for the name to be typed, then send; the page is shown as it is afterwards. */
async function confirmed(question, name, { body, yes, path, order, complete = () => true, revision }) {
  const typed = el("input", { autocomplete: "off", autocapitalize: "off", spellcheck: "false", required: true });
  const agreed = await ask(question, {
    body: el("div", { class: "stack" }, body, field(`Type ${name} to confirm`, typed)), yes, danger: true,
    ready: (confirm, dialog) => {
      const check = () => { confirm.disabled = typed.value.trim() !== name || !complete(); };
      dialog.addEventListener("input", check);
      check();
      (dialog.querySelector("select, input") ?? typed).focus();
    },
  });
  if (!agreed) return;
  try {
    const { data } = await api("POST", path, { body: order(), etag: `"${revision}"` });
    const invisible = data.invisible ? ` ${data.invisible} individuals lack its vectors and cannot be met until they are re-embedded.` : "";
    const what = data.share < 1 ? `${Math.round(100 * data.share)} % of the encounters use ${data.version} now.` : `Searches use ${data.version} now.`;
    toastNext(what + invisible);
    location.reload();
  } catch (error) { complain(error); }
}

for (const button of document.querySelectorAll("[data-version]")) {
  button.addEventListener("click", () => {
    const { version, active, stage, multiscale, threshold, outcome, covered, revision } = button.dataset;
    const lacking = Boolean(button.dataset.reason);
    const share = el("select", {},
      el("option", { value: "1" }, "all encounters"),
      ...[50, 20, 10].map((part) => el("option", { value: part / 100 }, `${part} % of the encounters, as an A/B test`)));
    const weight = el("input", { type: "number", min: 0, max: 1, step: .05, value: multiscale });
    const least = el("input", { type: "number", min: -1, max: 1, step: "any", value: threshold, placeholder: "none" });
    const reason = el("textarea", { maxlength: 1000, required: lacking });
    const missing = [
      covered ? null : "Not every individual has its vectors: those would be invisible.",
      outcome === "pass" ? null : outcome ? `Its validation against ${active} ended with: ${outcome}.` : `It was never validated against ${active}.`,
    ].filter(Boolean);
    confirmed(`Let searches use ${version}?`, version, {
      body: [
        el("p", {}, `${active} decides now. Names and sightings stay, and you can go back at any time.`),
        ...missing.map((text) => el("p", { class: "notice warn" }, text)),
        field("For", share),
        stage === "3" ? field("Weight of multi-scale (the partner has the rest)", weight) : null,
        field("Least similarity of an automatic match", least),
        field(lacking ? "Reason (required without full evidence)" : "Reason", reason),
      ].filter(Boolean),
      yes: `Use ${version}`, path: "/api/v1/cutovers", revision,
      complete: () => (!lacking || reason.value.trim()) && weight.validity.valid && least.validity.valid,
      order: () => ({
        version, share: Number(share.value), multiscale: Number(weight.value), reason: reason.value.trim(),
        threshold: least.value === "" ? null : Number(least.value),
      }),
    });
  });
}

const back = document.getElementById("back");
back?.addEventListener("click", () => {
  const { to, test, revision } = back.dataset;
  confirmed(test ? `End the A/B test of ${test}?` : `Go back to ${to}?`, to, {
    body: [el("p", {}, `All encounters use ${to} then. Nothing is lost: its vectors were never touched.`)],
    yes: test ? "End the test" : "Roll back", path: "/api/v1/rollbacks", revision, order: () => undefined,
  });
});
