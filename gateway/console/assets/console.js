// What makes the pages live and quick. Without it they are complete, and only slower.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const told = at("told");
  const tell = (words) => { if (told && words && told.textContent !== words) told.textContent = words; };

  // Time that is left, by the server's clock.
  const skew = Number(document.documentElement.dataset.now || Date.now()) - Date.now();
  const lasting = (s) => {
    if (s < 60) return `${s} s`;
    if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s / 60} min`;
    const minutes = Math.floor((s % 3600) / 60);
    return minutes ? `${Math.floor(s / 3600)} h ${minutes} min` : `${Math.floor(s / 3600)} h`;
  };
  const count = () => {
    for (const time of document.querySelectorAll("time[data-until]")) {
      const seconds = Math.ceil((Number(time.dataset.until) - Date.now() - skew) / 1000);
      const words = seconds > 0 ? `${lasting(seconds)} left` : "time is over";
      if (time.textContent !== words) time.textContent = words;
      time.classList.toggle("soon", seconds < 60);
      if (seconds <= 0 && time.closest("#standing")) close("Its time is over.");
    }
  };
  const close = (why) => {
    for (const button of document.querySelectorAll("#decision button")) button.disabled = true;
    tell(why);
  };
  setInterval(count, 1000);
  count();

  // What the server last sent for each live part: only what differs from that is put in place. Hidden fields hold proofs that are made for
  // each answer: they alone are no difference, and are put in place without touching the form, which somebody may be filling or signing.
  const hidden = (part) => [...part.querySelectorAll("form input[type=hidden]")];
  const seen = (part) => {
    const copy = part.cloneNode(true);
    for (const field of hidden(copy)) field.removeAttribute("value");
    return copy.innerHTML;
  };
  const sent = new Map();
  for (const part of document.querySelectorAll("[data-live][id]")) sent.set(part.id, seen(part));
  const follows = () => [...document.querySelectorAll("[data-follows]")];
  const concerns = (change) => change.kind === "everything" || follows().some((part) =>
    part.dataset.follows === change.kind && (!part.dataset.id || part.dataset.id === change.id));

  let loading = false;
  let again = false;
  const refresh = async () => {
    if (loading) { again = true; return; }
    loading = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin", cache: "no-store" });
      if (answer.redirected || answer.status === 401) { location.reload(); return; }
      if (answer.ok) place(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* The stream of events says when the gateway is back. */ }
    loading = false;
    if (again) { again = false; setTimeout(refresh, 250); }
  };
  const renew = (here, part) => {
    const fields = hidden(here);
    // What a script adds while it sends a form has no counterpart: then the old proofs stand, which hold as long as the page does.
    const fresh = hidden(part);
    if (fields.length !== fresh.length) return;
    fields.forEach((field, at) => { if (field.name === fresh[at].name && fresh[at].value) field.value = fresh[at].value; });
  };
  const place = (fresh) => {
    document.title = fresh.title;
    for (const part of fresh.querySelectorAll("[data-live][id]")) {
      const here = at(part.id);
      if (!here) continue;
      const now = seen(part);
      if (sent.get(part.id) === now) { renew(here, part); continue; }
      sent.set(part.id, now);
      const had = here.contains(document.activeElement) && document.activeElement !== here ? document.activeElement : null;
      const typed = [...here.querySelectorAll("input[id]:not([type=hidden]), textarea[id]")].filter((one) => one.value !== one.defaultValue);
      const chosen = [...here.querySelectorAll("input[type=checkbox][id]")].filter((one) => one.checked).map((one) => one.id);
      const open = [...here.querySelectorAll("details[open][id]")].map((one) => one.id);
      here.replaceChildren(...part.cloneNode(true).childNodes);
      // What somebody wrote stays written.
      for (const one of typed) { const same = at(one.id); if (same && "value" in same) same.value = one.value; }
      for (const id of chosen) { const same = at(id); if (same) same.checked = true; }
      for (const name of ["hidden", "data-say", "data-state"]) {
        if (part.hasAttribute(name)) here.setAttribute(name, part.getAttribute(name)); else here.removeAttribute(name);
      }
      for (const id of open) at(id)?.setAttribute("open", "");
      // Focus stays where it was; where that is gone, it goes to the part itself and not to the top of the page.
      if (had) {
        const same = (had.id && at(had.id)) || (had.dataset.key && here.querySelector(`[data-key="${had.dataset.key}"]`));
        if (same) same.focus({ preventScroll: true }); else { here.tabIndex = -1; here.focus(); }
      }
      here.classList.remove("changed"); void here.offsetWidth; here.classList.add("changed");
      if (here.dataset.say) tell(here.dataset.say);
    }
    count();
  };
  const listen = () => {
    const events = new EventSource("/events");
    events.addEventListener("changed", (event) => { const change = JSON.parse(event.data); if (change.kind === "approval" || concerns(change)) refresh(); });
    events.addEventListener("everything", refresh);
    // What changed between the making of the page and this is told by nobody.
    events.addEventListener("open", refresh);
    events.addEventListener("ended", () => { events.close(); location.reload(); });
    // The browser tries again by itself where the connection was lost, and gives up where it was refused.
    events.addEventListener("error", () => { if (events.readyState === EventSource.CLOSED) setTimeout(() => { listen(); refresh(); }, 5000); });
  };
  if (follows().length && "EventSource" in window) listen();

  // Keys. They do nothing while somebody writes, and can be switched off.
  const keys = at("keys");
  const on = at("keys-on");
  const kept = (() => { try { return window.localStorage; } catch { return null; } })();
  if (on) {
    on.checked = kept?.getItem("keys") !== "off";
    on.addEventListener("change", () => kept?.setItem("keys", on.checked ? "on" : "off"));
  }
  const rows = () => [...document.querySelectorAll("[data-row]")];
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row === document.activeElement);
    const next = now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, now + by));
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
  };
  const go = (key) => {
    const there = document.querySelector(`[data-key="${key}"]`);
    if (!there || there.disabled) return false;
    // A call that wants its code typed is not approved before that.
    const code = key === "a" && there.form?.elements.namedItem("code");
    const first = code && !code.value ? code : there;
    first.scrollIntoView({ block: "center" });
    first.focus({ preventScroll: true });
    return true;
  };
  document.addEventListener("keydown", (event) => {
    const where = event.target;
    // A box that is ticked takes no letters; and one in a list of keys that was just closed has the focus for a moment longer.
    const writes = where instanceof HTMLElement && (where.matches("input:not([type=checkbox]), textarea, select") || where.isContentEditable);
    if (event.ctrlKey || event.metaKey || event.altKey || writes || keys?.open) return;
    if (event.key === "?") { keys?.showModal(); event.preventDefault(); return; }
    if (on && !on.checked) return;
    switch (event.key) {
      case "j": step(1); break;
      case "k": step(-1); break;
      case "x": {
        const box = document.activeElement?.closest(".row")?.querySelector("input[type=checkbox]");
        if (!box) return;
        box.checked = !box.checked;
        tell(`${box.closest("label").textContent.trim()}: ${box.checked ? "chosen" : "not chosen"}`);
        break;
      }
      case "i": location.assign("/"); break;
      case "a": case "b": case "d": case "t": if (!go(event.key)) return; break;
      default: return;
    }
    event.preventDefault();
  });
})();
