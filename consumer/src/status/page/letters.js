// The page's dead letters: where people may act (`http.actions`), they are shown, replayed and discarded here
// by who has the token. It is kept in this page's memory alone, and goes into a header.
"use strict";

let token = "";


async function act(method, path, body) {
  const headers = { authorization: `Bearer ${token}` };
  if (body) headers["content-type"] = "application/json";
  // A replay reads the log from the letter on.
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(60000) });
  if (answer.status === 401) throw new Error("The token is wrong: it is http.token of the configuration.");
  if (!answer.ok) throw new Error((await answer.text()) || `${path}: ${answer.status}`);
  return answer.json();
}

// A question in a dialog; answers what was typed, "" where nothing is to be typed, or null.
function asked(title, text, label) {
  const dialog = make("dialog");
  const heading = make("h2", "", title);
  heading.id = "dialog-title";
  dialog.setAttribute("aria-labelledby", heading.id);
  const input = make("input");
  input.type = "password";
  input.autocomplete = "off";
  input.setAttribute("aria-label", "Token");
  const yes = make("button", "yes", label);
  const no = make("button", "", "Cancel");
  const buttons = make("p", "buttons");
  buttons.append(yes, no);
  dialog.append(heading, make("p", "", text), ...(label === "Use it" ? [input] : []), buttons);
  document.body.append(dialog);
  return new Promise((answer) => {
    const end = (value) => { dialog.close(); dialog.remove(); answer(value); };
    yes.addEventListener("click", () => end(input.value));
    no.addEventListener("click", () => end(null));
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      // Or the same key would press the button that has the focus once the dialog is closed.
      event.preventDefault();
      end(input.value);
    });
    // Escape.
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); end(null); });
    dialog.showModal();
  });
}

async function hasToken() {
  if (token) return true;
  token = (await asked("Token", "Who may act here has the token of http.token. It is forgotten when the page is left.", "Use it")) ?? "";
  return token !== "";
}

// One topic's letters: a line, and below it a table that opens.
class Letters {
  constructor(node, topic) {
    this.topic = topic;
    this.told = make("span");
    this.command = make("code");
    this.toggle = make("button", "", "Show");
    this.toggle.setAttribute("aria-expanded", "false");
    this.toggle.addEventListener("click", () => this.turn());
    this.outcome = make("p", "outcome");
    this.outcome.setAttribute("role", "status");
    this.place = make("div");
    this.place.hidden = true;
    node.replaceChildren(this.told, " ", this.command, " ", this.toggle, this.outcome, this.place);
  }

  show(open, actions) {
    say(this.told, `${whole.format(open)} of topic ${this.topic}:`);
    say(this.command, `write-behind dead-letters list --topic ${this.topic}`);
    this.toggle.hidden = !actions;
  }

  async turn() {
    const shown = !this.place.hidden;
    if (!shown && !(await hasToken())) return;
    this.place.hidden = shown;
    this.toggle.setAttribute("aria-expanded", String(!shown));
    say(this.toggle, shown ? "Show" : "Hide");
    say(this.outcome, "");
    if (!shown) await this.attempt(() => this.list());
  }

  // Tells what went wrong; a wrong token is asked for again.
  async attempt(work) {
    try {
      await work();
    } catch (error) {
      if (error.message.startsWith("The token")) {
        token = "";
        this.place.hidden = true;
        this.toggle.setAttribute("aria-expanded", "false");
        say(this.toggle, "Show");
      }
      say(this.outcome, error.message);
    }
  }

  async list() {
    const { open, letters } = await act("GET", `/dead-letters?topic=${encodeURIComponent(this.topic)}`);
    const table = make("table", "stacks");
    const caption = make("caption", "", open > letters.length ? `The first ${letters.length} of ${whole.format(open)}` : "");
    const head = table.createTHead().insertRow();
    for (const name of ["Place", "Set aside", "Key", "Reason", ""]) {
      const cell = make("th", "", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    fill(body, letters.map((letter) => [
      [letter.place.join(":")], [new Date(letter.set_aside_ms).toLocaleString()], [letter.key ?? "–", "name"],
      [letter.reason + (letter.sqlstate ? ` (${letter.sqlstate})` : ""), "error"], ["", "act"],
    ]));
    letters.forEach((letter, at) => {
      const what = `the record at ${letter.place.join(":")}`;
      body.rows[at].cells[4].append(...this.buttons(what, { topic: this.topic, place: letter.place }));
      body.rows[at].title = letter.value === null ? "a delete" : letter.value;
    });
    const all = make("p", "buttons");
    if (letters.length > 1) all.append(...this.buttons(`the ${letters.length} records shown`, { topic: this.topic }, " all"));
    const scroll = make("div", "scroll");
    scroll.append(table);
    if (caption.textContent) table.prepend(caption);
    this.place.replaceChildren(...(letters.length ? [scroll, all] : []));
  }

  buttons(what, which, more = "") {
    const button = (name, text, path, told) => {
      const node = make("button", "", name + more);
      node.setAttribute("aria-label", `${name} ${what}`);
      node.addEventListener("click", async () => {
        if ((await asked(`${name} ${what}?`, text, name)) === null) return;
        node.disabled = true;
        say(this.outcome, "…");
        await this.attempt(async () => {
          say(this.outcome, told(await act("POST", path, which)));
          await this.list();
        });
        node.disabled = false;
      });
      return node;
    };
    return [
      button("Replay", "It is applied to its row, as far as no later record overrules it.", "/dead-letters/replay", replayed),
      button("Discard", "It is never applied. That can't be taken back.", "/dead-letters/discard", ({ discarded }) => `${whole.format(discarded)} discarded`),
    ];
  }
}

function replayed(fates) {
  const outcomes = new Map();
  for (const { outcome } of fates) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  const counts = [...outcomes].map(([outcome, count]) => `${whole.format(count)} ${outcome}`).join(", ");
  const why = fates.find((fate) => fate.why);
  return `${counts || "there was none"}${why ? `; ${why.place.join(":")}: ${why.why}` : ""}`;
}

const letters = new Map();

// The open letters of each route; `actions`: whether people may act here.
function showLetters(routes, actions) {
  const open = routes.filter((route) => route.open_dead_letters > 0);
  const node = element("letter-list");
  for (const [topic, one] of letters) {
    if (!open.some((route) => route.topic === topic)) {
      one.item.remove();
      letters.delete(topic);
    }
  }
  for (const route of open) {
    if (!letters.has(route.topic)) {
      const item = node.appendChild(make("li"));
      letters.set(route.topic, { item, shown: new Letters(item, route.topic) });
    }
    letters.get(route.topic).shown.show(route.open_dead_letters, actions);
  }
  element("letters").hidden = open.length === 0;
}
