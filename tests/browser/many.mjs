// The inbox with ten and with 10,000 calls that wait, and 100 held calls of which one is decided. Over HTTP, without a browser.
import { Agent, request } from 'node:http';
import { Gateway, TICKETS, is, until } from './harness.mjs';

const MANY = 10_000;
const FEW = 10;
// So many are on one page.
const PAGE = 50;
const LOOKS = 40;
// So much longer than with ten, of which a page has fewer, and than with a full page.
const WORSE = 3;
const FULL = 2;
const HELD = 100;
// One agent has a thousand open questions at most.
const AGENTS = 10;

const kept = new Agent({ keepAlive: true, maxSockets: 256 });
const send = (url, { method = 'GET', headers = {}, body } = {}) => new Promise((done, lost) => {
  const asked = request(url, { method, headers: { ...headers, ...(body && { 'content-length': Buffer.byteLength(body) }) }, agent: kept }, (answer) => {
    let text = '';
    answer.setEncoding('utf8').on('data', (more) => { text += more; }).on('end', () => done({ status: answer.statusCode, headers: answer.headers, text }));
  });
  asked.on('error', lost);
  asked.end(body);
});

// Raw MCP: one call of one agent.
const refund = async (gateway, token, cents) => {
  const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} };
  const params = { name: 'tickets__refund', arguments: { id: 'T-17', amount_cents: cents }, _meta: meta };
  const headers = {
    authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream',
    'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'tickets__refund',
  };
  const { status, text } = await send(gateway.endpoint, { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', id: cents, method: 'tools/call', params }) });
  is(status === 200, `a call got ${status}: ${text.slice(0, 300)}`);
  const { result, error } = JSON.parse(text);
  is(result, `a call got ${JSON.stringify(error)}`);
  return result;
};

const settings = (agents, approvals) => `
[server]
max_rate_per_agent = 0
max_calls_per_agent = 256
[approvals]
approve_by = "1h"
max_asked_per_hour = 100000
${approvals}
${TICKETS}
${Array.from({ length: agents }, (_, at) => `
[[agents]]
id = "bot-${at}"
owner = "ops@example.com"
ceiling = "high"
[[grants]]
id = "task-${at}"
agent = "bot-${at}"
purpose = "pay back"
tools = ["tickets__refund"]
default = true
ttl = "8h"
`).join('')}`;
const token = (gateway, at) => gateway.cli('agents', 'token', `bot-${at}`, '--ttl', '8h').trim();

// Logs in by a one-time link as a browser does without a script. What it looks at from then on.
async function visitor(gateway) {
  const link = new URL(gateway.link());
  // It goes by its name, and connects to where that is.
  const at = (path) => `${link.protocol}//127.0.0.1:${link.port}${path}`;
  const headers = { host: link.host };
  const cookies = new Map();
  const keep = (answer) => {
    for (const one of answer.headers['set-cookie'] ?? []) { const [, name, value] = /^([^=]+)=([^;]*)/.exec(one); cookies.set(name, value); }
    headers.cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    return answer;
  };
  const door = keep(await send(at('/login'), { headers }));
  const form = /<form[^>]*action="\/login\/link".*?<\/form>/s.exec(door.text)[0];
  const fields = { code: link.hash.slice(1) };
  for (const [input] of form.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) fields[/name="([^"]*)"/.exec(input)[1]] = /value="([^"]*)"/.exec(input)[1];
  const posted = { ...headers, origin: link.origin, 'sec-fetch-site': 'same-origin', 'content-type': 'application/x-www-form-urlencoded' };
  const answer = keep(await send(at('/login/link'), { method: 'POST', headers: posted, body: new URLSearchParams(fields).toString() }));
  is(answer.status === 303, `the link got ${answer.status}: ${answer.text.slice(0, 300)}`);
  return async (path) => {
    const page = keep(await send(at(path), { headers }));
    is(page.status === 200, `${path} got ${page.status}`);
    return page.text;
  };
}

async function looked(look, pending) {
  const began = performance.now();
  const page = await look('/');
  const took = performance.now() - began;
  is(page.includes(`${pending} calls wait for a person`) || page.includes(`${pending.toLocaleString('en')} calls wait for a person`), `the inbox does not say that ${pending} wait: ${/inbox-count[^<]*<?/.exec(page)?.[0]}`);
  return took;
}

// A gateway where so many wait, and how its inbox is looked at.
async function full(pending, all) {
  const one = { gateway: await Gateway.start({}, { 'config.toml': settings(AGENTS, `hold = "0s"\nmax_pending_per_agent = ${MANY / AGENTS}`) }), pending, took: [] };
  const { gateway } = one;
  all.push(one);
  const tokens = Array.from({ length: AGENTS }, (_, at) => token(gateway, at));
  let asked = 0;
  const began = Date.now();
  await Promise.all(Array.from({ length: Math.min(64, pending) }, async () => {
    while (asked < pending) {
      asked += 1;
      const cents = asked;
      const { isError, _meta } = await refund(gateway, tokens[cents % AGENTS], cents);
      is(isError && _meta?.['dev.bailiwick/approval']?.state === 'pending', `call ${cents} does not wait: ${JSON.stringify(_meta)}`);
    }
  }));
  Object.assign(one, { seconds: (Date.now() - began) / 1000, look: await visitor(gateway) });
}

async function inbox() {
  const all = [];
  try {
    for (const pending of [FEW, PAGE, MANY]) await full(pending, all);
    // In turn, and the quickest of each: what else the machine does at the moment says nothing about any of them.
    for (let at = 0; at < LOOKS; at += 1) {
      for (const one of all) one.took.push(await looked(one.look, one.pending));
    }
    const [few, page, many] = all.map(({ took }) => Math.min(...took));
    console.log(`inbox pending=${FEW} ms=${few.toFixed(1)} pending=${MANY} ms=${many.toFixed(1)} ratio=${(many / few).toFixed(2)} (a full page, pending=${PAGE}: ms=${page.toFixed(1)} ratio=${(many / page).toFixed(2)}; asked in ${all[2].seconds.toFixed(1)} s)`);
    is((await all[2].look(`/?page=${MANY / PAGE}`)).includes(`Page ${MANY / PAGE} of ${MANY / PAGE}`), 'the last page is not there');
    is(many / few <= WORSE, `an inbox of ${MANY} takes ${(many / few).toFixed(2)} times as long as one of ${FEW}, and may take ${WORSE}`);
    is(many / page <= FULL, `an inbox of ${MANY} takes ${(many / page).toFixed(2)} times as long as a full page, and may take ${FULL}`);
  } finally { for (const { gateway } of all) await gateway.stop(); }
}

async function held() {
  const gateway = await Gateway.start({}, { 'config.toml': settings(1, `hold = "10m"\nmax_pending_per_agent = ${HELD}`) });
  try {
    const bearer = token(gateway, 0);
    const back = new Map();
    const all = Array.from({ length: HELD }, (_, at) => at + 1).map(async (cents) => { back.set(cents, await refund(gateway, bearer, cents)); });
    for (const one of all) one.catch(() => {}); // looked at below, or ended with the gateway
    const open = () => gateway.approvals().filter((one) => one.state === 'pending');
    const look = await visitor(gateway);
    const waiting = async () => (`${await look('/')}${await look('/?page=2')}`.match(/>agent waits</g) ?? []).length;
    const waits = async (count) => until(`${count} that are held`, async () => await waiting() === count && open().length === count, 120_000);
    await waits(HELD);
    is(back.size === 0, `${back.size} were not held`);
    const decided = [['approve', ['--yes'], (text) => text], ['deny', ['--reason', 'not this one'], (text) => text.includes('not this one')]];
    let left = HELD;
    for (const [verb, more, fits] of decided) {
      const chosen = open()[Math.floor(left / 2)];
      const shown = (await look(`/approvals/${chosen.id}`)).replaceAll('&quot;', '"');
      const began = performance.now();
      gateway.cli('approvals', verb, chosen.id, ...more);
      await until('the one that was decided', async () => back.size === HELD - left + 1);
      const ms = performance.now() - began;
      left -= 1;
      await waits(left);
      is(back.size === HELD - left, `${back.size} came back`);
      const [cents, result] = [...back].at(-1);
      is(shown.includes(`"amount_cents":${cents}}`), `the decided one is not that of ${cents}, which came back`);
      is(Boolean(result.isError) === (verb === 'deny') && fits(JSON.stringify(result)), `it heard ${JSON.stringify(result)}`);
      is(standing(gateway, chosen.id) === (verb === 'deny' ? 'denied' : 'succeeded'), 'the record says something else');
      console.log(`held ${HELD}: to ${verb} one woke its own in ${ms.toFixed(0)} ms, ${left} wait on`);
    }
  } finally { await gateway.stop(); }
}
const standing = (gateway, id) => gateway.approvals().find((one) => one.id === id).state;

let failed = 0;
for (const [name, run] of Object.entries({ 'a full inbox': inbox, 'one of many held calls': held })) {
  const began = Date.now();
  try {
    await run();
    console.log(`ok      ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (fault) {
    failed += 1;
    console.log(`FAILED  ${name}\n        ${fault.stack.split('\n').slice(0, 4).join('\n        ')}`);
  }
}
kept.destroy();
process.exit(failed ? 1 : 0);
