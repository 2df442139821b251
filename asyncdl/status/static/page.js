// What the page does beyond htmx: it rests while nobody sees it, says when its figures are old, and keeps its title.
"use strict";
(() => {
  let source = null;
  const say = (text) => {
    const place = document.getElementById("stale");
    if (place.textContent !== text) place.textContent = text;
  };
  // htmx's extension asks here for its connection (see htmx-sse.js), so that it can be closed and opened again.
  htmx.createEventSource = (url) => {
    source = new EventSource(url);
    source.addEventListener("open", () => say(""));
    source.addEventListener("error", () => {
      const taken = document.getElementById("taken");
      say("no connection" + (taken ? "; figures of " + taken.textContent : ""));
    });
    return source;
  };
  // A browser opens six connections to a host: hidden tabs must not hold them, nor keep the queue being read.
  document.addEventListener("visibilitychange", () => {
    const live = document.getElementById("live");
    if (live === null) return;
    if (document.hidden) {
      source?.close();
    } else if (source === null || source.readyState === EventSource.CLOSED) {
      const again = live.cloneNode(true);
      live.replaceWith(again);
      htmx.process(again);
    }
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:sseMessage", () => {
    document.title = document.querySelector("h1").textContent;
  });
})();
