// The page's members: what all processes of the pipeline say, asked by this one.
"use strict";

const FLEET_EVERY_MS = 5000;
// A member that is silent is waited for.
const FLEET_WITHIN_MS = 20000;

function memberCells({ url, report, error }) {
  const process = report?.process;
  const routes = report?.routes ?? [];
  const all = (field) => sum(routes.map((route) => route[field]));
  const ages = known(routes.map((route) => route.lag_seconds));
  const ready = process && process.not_ready.length === 0;
  const state = process ? `${process.state}, ${ready ? "ready" : "not ready"}` : "no answer";
  return [
    [url], [state, ready ? "good" : "bad"], [error ?? process?.not_ready[0] ?? "", "error"],
    [process ? String(process.partitions) : "–", "number"], [count(all("lag_records")), "number"],
    [time(ages.length ? Math.max(...ages) : null), "number wide"],
    [count(all("records_per_second")), "number"], [count(all("rows_per_second")), "number"],
    [process ? versionOf(process) : "–", "wide"],
  ];
}

function showFleet({ members, members_of_group: inGroup, unread, error }) {
  const alone = members.length < 2 && (inGroup ?? 0) < 2;
  element("fleet").hidden = alone;
  if (alone) return;
  fill(element("members"), members.map(memberCells));
  members.forEach(({ url }, at) => {
    const cell = element("members").rows[at].cells[0];
    if (cell.querySelector("a")?.href !== `${url}/`) {
      const link = make("a", "", url);
      link.href = url;
      link.rel = "noreferrer";
      cell.replaceChildren(link);
    }
  });
  const nobody = Object.entries(unread).map(([topic, numbers]) => `no member has ${topic}, partition ${numbers.join(", ")}`);
  say(element("unread"), [error, ...nobody].filter(Boolean).join("; "));
}

async function askFleet() {
  try {
    showFleet(await ask("/fleet", FLEET_WITHIN_MS));
  } catch {
    // The page says already that its own consumer does not answer.
  }
  setTimeout(askFleet, FLEET_EVERY_MS);
}
