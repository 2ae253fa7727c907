// The first ten minutes of a newcomer: the binary without a configuration, what its terminal prints, a browser for the person who approves,
// and the built-in client for the agent. With BAILIWICK_INSPECTOR=1 the MCP Inspector (npm) lists and calls, too.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BINARY, Person, browse, is, until } from './harness.mjs';

const MOST = 10 * 60_000;
const INSPECTOR = '@modelcontextprotocol/inspector@2.12.0';

const folder = mkdtempSync(join(tmpdir(), 'bailiwick-minutes-'));
const env = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder, BAILIWICK_SERVER__LISTEN: '127.0.0.1:0', BAILIWICK_SERVER__CONSOLE: '127.0.0.1:0' };
const began = Date.now();
// At a terminal of its own, as it prints a link only there.
const terminal = spawn('script', ['--quiet', '--flush', '--return', '--command', `'${BINARY}' run`, '/dev/null'], { env, cwd: folder, stdio: ['pipe', 'pipe', 'inherit'] });
let banner = '';
terminal.stdout.on('data', (text) => { banner += text; });
const ended = new Promise((done) => terminal.on('close', done));

// Types a command. What it printed, both ways, and how it ended.
const types = (...words) => {
  const child = spawn(BINARY, words, { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const heard = { out: '', said: '' };
  child.stdout.on('data', (text) => { heard.out += text; heard.said += text; });
  child.stderr.on('data', (text) => { heard.said += text; });
  const done = new Promise((tell) => child.on('close', (code) => tell({ ...heard, code })));
  return Object.assign(done, { waits: () => child.exitCode === null });
};
const open = async () => JSON.parse((await types('approvals', 'list', '--json')).out).filter((one) => one.state === 'pending');
const question = () => until('the question', async () => (await open())[0]);

let token;
let ada;
let browser;
let first;
const steps = {
  async 'it starts, and says what to type next'() {
    await until('the banner', async () => /login#one-time-/.test(banner) && /audit verify/.test(banner));
    is(/3 of 30 tools/.test(banner) && /embedded/.test(banner), `it says: ${banner}`);
  },
  async 'the link opens the console, and a passkey is added'() {
    browser = await browse();
    const link = banner.match(/http\S+\/login#one-time-[\w-]+/)[0];
    ada = await Person.arrive(browser, { passkeys: new Map() }, { link });
    await ada.picture('minutes-passkey');
    await ada.open('/');
    await ada.picture('minutes-inbox');
  },
  async 'a token for the agent'() {
    token = (await types('agents', 'token', 'demo')).out.trim();
    is(token.length > 30 && !/\s/.test(token), 'it is no token');
    env.BAILIWICK_TOKEN = token;
  },
  async 'it is listed 3 of the 30 tools'() {
    const { code, out } = await types('call', '--list');
    is(code === 0 && JSON.stringify(out.match(/^\w+__\w+/gm)) === JSON.stringify(['tickets__get', 'tickets__search', 'tickets__refund'].toSorted()), `it is listed: ${out}`);
  },
  async 'it reads a ticket'() {
    const { code, out } = await types('call', 'tickets__get', 'id=T-17');
    is(code === 0 && out.includes('Charged twice'), `it reads: ${out}`);
  },
  async 'what is not granted does not exist'() {
    const [not, nothing] = [await types('call', 'files__delete', 'path=/readme.txt'), await types('call', 'files__nothing', 'path=/readme.txt')];
    is(not.code !== 0 && not.said.includes('Unknown tool: files__delete'), `it hears: ${not.said}`);
    is(not.said.replaceAll('files__delete', '') === nothing.said.replaceAll('files__nothing', ''), `and of a tool that is not there: ${nothing.said}`);
  },
  async 'explain says to the operator why, and what would allow it'() {
    await types('call', 'files__delete', 'path=/readme.txt');
    const { code, said } = await types('explain', '--last');
    is(code === 0 && /DENIED/.test(said) && said.includes('files__delete') && said.includes('demo-triage'), `it explains: ${said}`);
  },
  async 'an argument outside the grant is refused, and explained'() {
    const { code, said } = await types('call', 'tickets__search', 'project=finance', 'text=invoice');
    is(code !== 0 && said.includes('/project'), `it hears: ${said}`);
    const why = await types('explain', '--last');
    is(why.code === 0 && why.said.includes('tickets__search') && why.said.includes('/project'), `it explains: ${why.said}`);
    is((await types('call', 'tickets__search', 'project=support', 'text=charged')).code === 0, 'inside the grant it is refused, too');
  },
  async 'a refund is held, approved in the browser, and goes on'() {
    const agent = types('call', 'tickets__refund', 'id=T-17', 'amount_cents=4900');
    first = await question();
    is(agent.waits(), 'it does not wait');
    await ada.open('/');
    await ada.waits(1);
    await ada.pressed('j', 'Enter');
    await ada.page.waitForURL(`**/approvals/${first.id}`);
    await ada.picture('minutes-question');
    await ada.pressed('a', 'Enter');
    const { code, out } = await agent;
    is(code === 0 && out.includes('"amount_cents":4900'), `it hears: ${out}`);
  },
  async 'the same call again asks again'() {
    const agent = types('call', 'tickets__refund', 'id=T-17', 'amount_cents=4900');
    const asked = await question();
    is(asked.id !== first.id && agent.waits(), 'an approval was good twice');
    await ada.open(`/approvals/${asked.id}`);
    is((await ada.page.textContent('#standing')).includes('was asked before'), 'the page does not say that it was asked before');
    await ada.picture('minutes-again');
    await ada.pressed('d');
    await ada.page.keyboard.type('paid once is enough');
    await ada.pressed('Tab', 'Tab', 'Enter');
    const { code, said } = await agent;
    is(code !== 0 && said.includes('paid once is enough'), `it hears: ${said}`);
  },
  async 'another amount is another question'() {
    const agent = types('call', 'tickets__refund', 'id=T-17', 'amount_cents=490000');
    const asked = await question();
    is(asked.id !== first.id && asked.args_digest !== first.args_digest, 'it is the same question');
    await ada.open(`/approvals/${asked.id}`);
    is((await ada.page.textContent('#content')).includes('490000'), 'the amount is not shown');
    await ada.picture('minutes-amount');
    await ada.pressed('a', 'Enter');
    is((await agent).code === 0, 'it does not go on');
  },
  async 'the approvals are listed with what became of them'() {
    const all = JSON.parse((await types('approvals', 'list', '--all', '--json')).out);
    is(all.map((one) => one.state).toSorted().join() === 'denied,succeeded,succeeded', `they are ${all.map((one) => one.state)}`);
    const { code, out } = await types('approvals', 'list', '--all');
    is(code === 0 && all.every((one) => out.includes(one.code)) && out.includes('admin') && all.every((one) => one.decisions.every((said) => said.approver.method === 'passkey')), `it lists: ${out}`);
  },
  async 'the trail has it all, and verifies'() {
    const tail = await types('audit', 'tail', '-n', '200');
    is(tail.code === 0 && ['tickets__refund', 'files__delete'].every((tool) => tail.out.includes(tool)), `its end is: ${tail.said}`);
    const { code, said } = await types('audit', 'verify');
    is(code === 0, `it does not verify: ${said}`);
  },
};
if (process.env.BAILIWICK_INSPECTOR) {
  steps['the Inspector lists and calls'] = async () => {
    const endpoint = banner.match(/MCP at (http\S+)/)[1];
    const inspect = (...words) => execFileSync('npx', ['--yes', INSPECTOR, '--cli', endpoint, '--transport', 'http', '--header', `Authorization: Bearer ${token}`, ...words, '--format', 'json'],
      { encoding: 'utf8', env: { ...process.env, HOME: folder }, timeout: 300_000, stdio: ['ignore', 'pipe', 'pipe'] });
    is((inspect('--method', 'tools/list').match(/"name": ?"tickets__/g) ?? []).length === 3, 'it is not listed three tools');
    is(inspect('--method', 'tools/call', '--tool-name', 'tickets__get', '--tool-arg', 'id=T-17').includes('Charged twice'), 'it reads no ticket');
  };
}

let failed = 0;
for (const [name, run] of Object.entries(steps)) {
  const at = Date.now();
  try {
    await run();
    console.log(`ok      ${name} (${((Date.now() - at) / 1000).toFixed(1)} s)`);
  } catch (fault) {
    // Each step builds on those before it.
    console.log(`FAILED  ${name}\n        ${fault.stack.split('\n').slice(0, 4).join('\n        ')}`);
    await ada?.picture('minutes-failed').catch(() => {});
    failed = 1;
    break;
  }
}
const took = Date.now() - began;
if (!failed && ada.faults.length) { console.log(`FAILED  the browser found fault: ${ada.faults.join(' | ')}`); failed = 1; }
await browser?.close();
terminal.stdin.write('\x03'); // Ctrl-C
await Promise.race([ended, new Promise((go) => setTimeout(go, 15_000))]);
if (terminal.exitCode === null) { console.log('FAILED  it does not end at Ctrl-C'); failed = 1; terminal.kill('SIGKILL'); }
rmSync(folder, { recursive: true, force: true });
if (!failed && took >= MOST) { console.log('FAILED  that is no ten minutes'); failed = 1; }
console.log(`the first ten minutes took ${(took / 1000).toFixed(1)} s, ${Object.keys(steps).length} steps`);
process.exit(failed);
