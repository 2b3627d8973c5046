// Undo buttons, here and on an individual's page: first what it would mean, then the thing.

import { undoEdit } from "./app.js";

for (const button of document.querySelectorAll("[data-undo]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    if (await undoEdit(Number(button.dataset.undo))) location.reload();
    button.disabled = false;
  });
}
