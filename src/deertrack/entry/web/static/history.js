// Undo buttons, here and on an individual's page: first what it would mean, then the thing.

import { undoAndReload } from "./app.js";

for (const button of document.querySelectorAll("[data-undo]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    await undoAndReload(Number(button.dataset.undo));
    button.disabled = false;
  });
}
