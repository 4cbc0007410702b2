// Keeps the list of exchanges up to date, and adds copy buttons. Without it the page is the same, but static.
"use strict";
(() => {
  const INTERVAL = 1000;
  const PATIENCE = 5000;
  const status = document.getElementById("status");

  for (const block of document.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(block.textContent);
        status.textContent = button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(block);
        status.textContent = button.textContent = "Selected";
      }
    });
    block.parentElement.append(button);
  }

  const table = document.querySelector("[data-live]");
  if (!table) return;
  const body = table.tBodies[0];
  const pause = document.querySelector("[data-pause]");
  const state = document.querySelector("[data-state]");
  let paused = false;

  document.querySelector("[data-static]").hidden = true;
  document.querySelector("[data-live-state]").hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.closest("[data-live-state]").classList.toggle("paused", paused);
    state.textContent = paused ? "Paused" : "Live";
  });

  const add = (html) => {
    const parsed = document.createElement("template");
    parsed.innerHTML = html; // the server escaped it, and the content security policy lets nothing in it run
    const rows = [...parsed.content.querySelectorAll("tr")];
    for (const row of rows) row.classList.add("new");
    body.prepend(...rows);
    while (body.rows.length > Number(table.dataset.limit)) body.lastElementChild.remove();
    document.querySelector("[data-empty]")?.remove();
    const more = rows.length > 1 ? `, and ${rows.length - 1} more` : "";
    status.textContent = rows[0].dataset.news + more;
  };

  const ask = async () => {
    if (paused || document.hidden) return INTERVAL;
    const after = body.rows[0]?.dataset.id ?? "";
    try {
      const answer = await fetch(`/exchanges/news?after=${encodeURIComponent(after)}`);
      if (answer.status === 205) location.reload();
      if (answer.status === 200) add(await answer.text());
      state.textContent = answer.ok ? "Live" : "The server has a problem";
      return answer.ok ? INTERVAL : PATIENCE;
    } catch {
      state.textContent = "The server does not answer";
      return PATIENCE;
    }
  };

  const again = async () => setTimeout(again, await ask());
  setTimeout(again, INTERVAL);
})();
