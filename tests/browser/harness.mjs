// What the browser tests share: a gateway of their own, people at a browser, and a word on each case.
import { spawn, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export const require = createRequire(join(process.env.BAILIWICK_MODULES, 'x.js'));
export const BINARY = process.env.BAILIWICK_BINARY;
const pictures = process.argv[2] || '';
if (pictures) mkdirSync(pictures, { recursive: true });
const PATIENCE = 30_000;

export const is = (told, what) => { if (!told) throw new Error(what); };
export const until = async (what, look, patience = PATIENCE) => {
  const end = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`never came: ${what}`);
    await new Promise((go) => setTimeout(go, 100));
  }
};

// The tickets of the demo, for a configuration of one's own. Its credential is in `tickets.token`.
export const TICKETS = `
[[connectors]]
id = "tickets"
command = [${JSON.stringify(BINARY)}, "demo-server", "tickets"]
pin = "first-use"
credential = { provider = "file", path = "tickets.token", inject = { env = "TICKETS_TOKEN" } }
labels = []
tools.get = { kind = "read", band = "low" }
tools.refund = { kind = "write", band = "high" }
`;

// A gateway whose connectors are lent what a program of the operator's makes: what `tickets` has of that issuer lies in the folder `issued`, and it takes
// nothing back while there is a file `away`. One of its kinds takes nothing back at all, and one credential stands for ever and is old.
const MINT = `#!/bin/sh
cd "$(dirname "$0")" && read -r asked
lease=$(printf %s "$asked" | sed 's/.*"lease":"\\([^"]*\\)".*/\\1/')
case "$asked" in
*'"verb":"revoke"'*) [ ! -e away ] || { echo "closed for the night" >&2; exit 1; }; rm -f "issued/$lease" ;;
*) case "$asked" in *'"connector":"tickets"'*) echo x >"issued/$lease" ;; esac
   ttl=$(printf %s "$asked" | sed 's/.*"ttlSeconds":\\([0-9]*\\).*/\\1/')
   printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"made-for-%s","expirationTimestamp":"%s"}}' "$lease" "$(date -u -d "+$ttl seconds" +%Y-%m-%dT%H:%M:%SZ)" ;;
esac
`;
const lent = (name, credential) => `
[[connectors]]
id = "${name}"
command = [${JSON.stringify(BINARY)}, "demo-server", "${name}"]
pin = "first-use"
credential = { ${credential}, inject = { env = "${name.toUpperCase()}_TOKEN" } }
labels = []
tools.get = { kind = "read", band = "low" }
tools.list = { kind = "read", band = "low" }
`;
export const ISSUED = {
  mint: MINT,
  'issued/.keep': '',
  'shop.token': 'a credential of nobody: 9876543210',
  'config.toml': `
[[agents]]
id = "demo"
owner = "ops@example.com"
[[providers]]
id = "house"
exec = { command = ["@FOLDER@/mint"], revocable = true }
[[providers]]
id = "elsewhere"
exec = { command = ["@FOLDER@/mint"] }
${lent('tickets', 'provider = "house", role = "tickets-rw", read_role = "tickets-ro"')}
${lent('files', 'provider = "elsewhere", role = "files-ro"')}
${lent('shop', 'provider = "file", path = "shop.token"')}
[[grants]]
id = "triage"
agent = "demo"
purpose = "triage the tickets"
tools = ["tickets__get", "files__list"]
default = true
ttl = "8h"
[[people]]
id = "ada"
roles = ["viewer", "admin"]
[[people]]
id = "vic"
roles = ["viewer"]
`,
};

// A gateway of its own, with the embedded demo or these files (`config.toml` is one of them).
export class Gateway {
  static async start(settings = {}, files = {}) {
    const folder = mkdtempSync(join(tmpdir(), 'bailiwick-browser-'));
    for (const [name, text] of Object.entries({ 'tickets.token': 'a credential of nobody: 0123456789', ...files })) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text.replaceAll('@FOLDER@', folder), { mode: text.startsWith('#!') ? 0o700 : 0o600 });
    }
    const data = join(folder, 'data');
    const env = { PATH: process.env.PATH, HOME: folder, BAILIWICK_SERVER__LISTEN: '127.0.0.1:0', BAILIWICK_SERVER__CONSOLE: '127.0.0.1:0', ...settings };
    const process_ = spawn(BINARY, ['run', '--data', data], { env, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    process_.stderr.on('data', (text) => { said += text; });
    await until('the gateway', async () => /^console +http/m.test(said) || (process_.exitCode !== null && is(false, said)));
    return Object.assign(new Gateway(), { folder, data, env, process_, said: () => said, passkeys: new Map(), authenticators: 0 });
  }
  get console() { return this.said().match(/^console +(http\S+)/m)[1]; }
  get endpoint() { return this.said().match(/MCP at (http\S+)/)[1]; }
  cli(...words) { return execFileSync(BINARY, ['--data', this.data, ...words], { encoding: 'utf8', env: this.env, cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] }); }
  // An agent that makes a call and waits for what comes of it.
  call(...words) {
    const agent = spawn(BINARY, ['--data', this.data, 'call', ...words], { env: this.env, cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [agent.stdout, agent.stderr]) stream.on('data', (text) => { said += text; });
    const heard = new Promise((done) => agent.on('close', (code) => done({ code, said })));
    return Object.assign(heard, { waits: () => agent.exitCode === null });
  }
  refund(cents) { return this.call('tickets__refund', 'id=T-17', `amount_cents=${cents}`); }
  link(person) { return this.cli('console', ...(person ? ['--person', person] : [])).match(/http\S+/)[0]; }
  credential() { return readFileSync(join(this.data, 'operator.key')).toString('hex'); }
  approvals() { return JSON.parse(this.cli('approvals', 'list', '--all', '--json')); }
  // Another configuration, in force when this returns.
  configure(change) {
    const file = join(this.folder, 'config.toml');
    writeFileSync(file, change(readFileSync(file, 'utf8')), { mode: 0o600 });
    this.cli('reload');
  }
  async stop() {
    const ended = new Promise((done) => this.process_.on('close', done));
    if (this.process_.exitCode === null) { this.process_.kill('SIGTERM'); await ended; }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// Somebody at a browser, logged in by a one-time link.
export class Person {
  static async arrive(browser, gateway, { passkey = true, person: name, link, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    const person = Object.assign(new Person(), { context, page, faults: [], gateway, name: name ?? 'admin' });
    person.listen(page);
    const to = link ?? gateway.link(name);
    person.origin = new URL(to).origin;
    await page.goto(to);
    await page.waitForURL((url) => !url.pathname.startsWith('/login'));
    if (passkey) await person.enrol();
    return person;
  }
  listen(page) {
    page.on('console', (message) => { if (message.type() === 'error' && !/status of 40[49]/.test(message.text())) this.faults.push(message.text()); });
    page.on('pageerror', (fault) => this.faults.push(String(fault)));
  }
  // A software authenticator for a page that says yes by itself, as a finger on a key does. With the passkey that this person has, if any.
  async authenticator(page) {
    const devtools = await this.context.newCDPSession(page);
    await devtools.send('WebAuthn.enable');
    const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
      options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
    });
    const passkey = this.gateway.passkeys.get(this.name);
    // Wherever it was used last, it signed less often than this: a count that does not go up is one of a copy, and refused.
    this.gateway.authenticators += 1;
    if (passkey) await devtools.send('WebAuthn.addCredential', { authenticatorId, credential: { ...passkey, signCount: this.gateway.authenticators * 1000 } });
    return async () => (await devtools.send('WebAuthn.getCredentials', { authenticatorId })).credentials;
  }
  // Adds a passkey, the first time. Then it is the same one wherever this person comes from, as one that is synchronized.
  async enrol() {
    const has = this.gateway.passkeys.has(this.name);
    const credentials = await this.authenticator(this.page);
    if (has) return;
    await this.page.goto(`${this.origin}/passkeys`);
    await this.page.locator('form[data-passkey="create"] button').click();
    await this.page.waitForSelector('form[action*="/remove"]', { timeout: PATIENCE });
    this.gateway.passkeys.set(this.name, (await credentials())[0]);
  }
  async open(path, page = this.page) {
    // The answer to a decision may still be on its way back: what it shows was seen already, by the live update.
    const goto = () => page.goto(this.origin + path);
    const answer = await goto().catch((fault) => (/interrupted by another navigation/.test(String(fault)) ? page.waitForLoadState('load').then(goto) : Promise.reject(fault)));
    await page.waitForLoadState('load');
    return answer;
  }
  async picture(name, page = this.page) { if (pictures) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true }); }
  // The inbox, once this many calls wait there: without loading it anew.
  async waits(count) { await until(`${count} in the inbox`, async () => (await this.page.locator('.rows [data-row]').count()) === count); }
  async pressed(...keys) { for (const key of keys) await this.page.keyboard.press(key); }
  focused(page = this.page) { return page.evaluate(() => document.activeElement?.id || document.activeElement?.dataset.key || document.activeElement?.tagName); }
  async leave() { is(this.faults.length === 0, `the browser found fault: ${this.faults.join(' | ')}`); await this.context.close(); }
}

const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
// What is gravely wrong with a page for those who see, hear or move otherwise; nothing is an empty text.
export const grave = async (page) => {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.filter((one) => ['serious', 'critical'].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`).join('; ');
};

export const browse = () => require('playwright-core').chromium
  .launch({ executablePath: process.env.BAILIWICK_CHROMIUM, args: process.getuid() === 0 ? ['--no-sandbox'] : [] });

// Runs each case at this gateway, and stops it. The exit code.
export async function each(cases, gateway) {
  const browser = await browse();
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    const began = Date.now();
    try {
      await run(browser, gateway);
      console.log(`ok      ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (fault) {
      failed += 1;
      console.log(`FAILED  ${name}\n        ${fault.stack.split('\n').slice(0, 4).join('\n        ')}`);
      // What a failed case left open would stand in the way of the next.
      for (const context of browser.contexts()) {
        if (pictures) await context.pages()[0]?.screenshot({ path: join(pictures, `failed-${failed}.png`) }).catch(() => {});
        await context.close();
      }
      for (const open of gateway.approvals()) {
        if (open.state === 'pending') gateway.cli('approvals', 'deny', open.id, '--reason', 'a case failed');
      }
    }
  }
  await browser.close();
  await gateway.stop();
  console.log(failed ? `${failed} of ${Object.keys(cases).length} failed` : `all ${Object.keys(cases).length} passed`);
  return failed ? 1 : 0;
}
