// Passkeys: asks the browser for what only it can give, and puts the answer into the form that wanted it. Nothing is decided here.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const say = (message) => {
    const place = document.querySelector("[data-message]");
    if (place) place.textContent = message;
  };
  const path = (form) => new URL(form.action).pathname;

  // Sends fields as a form does, and reads the answer.
  async function ask(place, fields) {
    const answer = await fetch(place, { method: "POST", body: new URLSearchParams(fields), redirect: "error" });
    if (answer.ok) return answer.json();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    throw new Error(page.querySelector("h1")?.textContent || "the gateway refused");
  }

  async function assertion(options) {
    options.challenge = bytes(options.challenge);
    options.allowCredentials = (options.allowCredentials || []).map((one) => ({ ...one, id: bytes(one.id) }));
    const got = await navigator.credentials.get({ publicKey: options });
    const said = got.response;
    return JSON.stringify({
      id: text(got.rawId),
      clientDataJSON: text(said.clientDataJSON),
      authenticatorData: text(said.authenticatorData),
      signature: text(said.signature),
      userHandle: said.userHandle && said.userHandle.byteLength ? text(said.userHandle) : null,
    });
  }

  async function registration(options) {
    options.challenge = bytes(options.challenge);
    options.user.id = bytes(options.user.id);
    options.excludeCredentials = (options.excludeCredentials || []).map((one) => ({ ...one, id: bytes(one.id) }));
    const made = await navigator.credentials.create({ publicKey: options });
    return JSON.stringify({
      id: text(made.rawId),
      clientDataJSON: text(made.response.clientDataJSON),
      attestationObject: text(made.response.attestationObject),
    });
  }

  // What the fields of a form are, with the button that was pressed.
  const fieldsOf = (form, submitter) => {
    const fields = Object.fromEntries(new FormData(form));
    if (submitter && submitter.name) fields[submitter.name] = submitter.value;
    return fields;
  };

  // Has what these fields want signed.
  async function signed(to, fields) {
    const { assertion: _empty, operator: _typed, ...wanted } = fields;
    return assertion(await ask("/sign", { ...wanted, to }));
  }

  // What a link's answer gave to this tab: with it a passkey is added, as a cookie alone can't. Pages of other ports don't see it.
  const TICKET = "bailiwick-enrol";
  if (location.hash.startsWith("#enrol-")) {
    sessionStorage.setItem(TICKET, location.hash.slice("#enrol-".length));
    history.replaceState(null, "", location.pathname + location.search);
  }

  // The login, and a new passkey.
  async function credential(form, submitter) {
    const fields = fieldsOf(form, submitter);
    const place = form.dataset.options;
    if (form.dataset.passkey === "get") {
      form.elements.credential.value = await assertion(await ask(place, { token: fields.token }));
      return;
    }
    const wanted = { token: fields["options-token"], name: fields.name };
    const ticket = "enrols" in form.dataset && sessionStorage.getItem(TICKET);
    if (ticket) wanted.ticket = ticket;
    else {
      say("first show a passkey that you have");
      wanted.assertion = await signed(place, wanted);
      say("now make the new one");
    }
    form.elements.credential.value = await registration(await ask(place, wanted));
  }

  // The form goes out as it stands, with the answer in it.
  function send(form, submitter) {
    if (submitter && submitter.name) {
      const pressed = document.createElement("input");
      pressed.type = "hidden";
      pressed.name = submitter.name;
      pressed.value = submitter.value;
      form.append(pressed);
    }
    form.submit();
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const isCredential = "passkey" in form.dataset;
    const isSigned = "sign" in form.dataset && !form.elements.operator?.value;
    if (!isCredential && !isSigned) return;
    event.preventDefault();
    try {
      if (isCredential) await credential(form, event.submitter);
      else form.elements.assertion.value = await signed(path(form), fieldsOf(form, event.submitter));
      send(form, event.submitter);
    } catch (fault) {
      say(String(fault.message || fault));
    }
  });

  // A one-time link: the code stands after the #, which no server has seen.
  const link = document.querySelector("form[data-link]");
  if (link && location.hash.startsWith("#one-time-")) {
    const code = location.hash.slice(1);
    history.replaceState(null, "", location.pathname + location.search);
    link.elements.code.value = code;
    link.submit();
  }
})();
