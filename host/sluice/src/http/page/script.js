// The server writes the page; this fetches it again and exchanges what it shows, and copies what has a button.
(() => {
  const again = async () => {
    if (!document.hidden && getSelection().isCollapsed) {
      try {
        const answer = await fetch("/", { signal: AbortSignal.timeout(8000) });
        if (!answer.ok) throw new Error(answer.status);
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        document.querySelector("main").replaceWith(fresh.querySelector("main"));
        document.title = fresh.title;
        document.body.classList.remove("is-lost");
      } catch {
        document.body.classList.add("is-lost");
      }
    }
    setTimeout(again, 5000);
  };
  setTimeout(again, 5000);
  document.addEventListener("click", async ({ target }) => {
    const text = target.closest("button")?.previousElementSibling;
    if (!text) return;
    try {
      await navigator.clipboard.writeText(text.textContent);
      target.textContent = "Copied";
    } catch {
      // No clipboard without TLS, except on this machine: selected, to be copied by hand.
      getSelection().selectAllChildren(text);
    }
  });
})();
