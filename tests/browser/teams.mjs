// Login at an identity provider that nobody here wrote: a certified OpenID Connect server on this machine, each person in a browser of
// their own. It lets people look; it decides nothing.
import { createServer } from 'node:http';
import { createServer as createProbe } from 'node:net';
import { pathToFileURL } from 'node:url';
import { Gateway, TICKETS, each, is, require, until } from './harness.mjs';

const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

// A port of this machine that nobody has at the moment: both sides have to know the other's address before they start.
const free = () => new Promise((found) => { const probe = createProbe(); probe.listen(0, '127.0.0.1', () => { const { port } = probe.address(); probe.close(() => found(port)); }); });
const [consolePort, issuerPort] = [await free(), await free()];
const issuer = `http://127.0.0.1:${issuerPort}`;
const home = `http://localhost:${consolePort}`;
const GROUPS = { 'sub-ada': ['approvers', 'unknown'], 'sub-vic': ['readers'], 'sub-eve': ['approvers'], 'sub-nil': [] };

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'bailiwick-console', client_secret: 'a secret of nobody: +/%&=', redirect_uris: [`${home}/login/oidc/callback`],
    grant_types: ['authorization_code'], response_types: ['code'], token_endpoint_auth_method: 'client_secret_basic',
  }],
  claims: { openid: ['sub', 'groups'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['of no worth'] },
  findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id, groups: GROUPS[id] ?? [] }) }),
});
const server = createServer(provider.callback());
await new Promise((ready) => server.listen(issuerPort, '127.0.0.1', ready));

const CONFIG = `
[console]
public_url = "${home}"
oidc = { issuer = "${issuer}", client_id = "bailiwick-console", client_secret_file = "oidc.secret", roles_claim = "groups", roles = { approvers = ["viewer", "approver"], readers = ["viewer"] } }
[approvals]
hold = "5m"
[[agents]]
id = "demo"
owner = "ops@example.com"
ceiling = "high"
${TICKETS}
[[grants]]
id = "triage"
agent = "demo"
purpose = "triage the support inbox"
tools = ["tickets__refund"]
default = true
ttl = "8h"
[[people]]
id = "ada"
subject = "sub-ada"
roles = ["viewer", "approver"]
[[people]]
id = "vic"
subject = "sub-vic"
roles = ["viewer", "approver"]
[[people]]
id = "nil"
subject = "sub-nil"
roles = ["viewer", "approver"]
`;

// Somebody who goes to the console, and from there to the provider.
const arrive = async (browser, subject) => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${home}/`);
  await page.locator('a[href*="/login/oidc"]').click();
  await page.waitForURL(`${issuer}/interaction/**`);
  if (subject) {
    await page.fill('input[name=login]', subject);
    await page.fill('input[name=password]', 'any');
    await page.locator('button[type=submit]').click();
    // It asks once whether the console may know.
    await until('the consent', async () => (await page.content()).includes('Authorize') || page.url().startsWith(home));
    if (!page.url().startsWith(home)) {
      // What the browser is sent back with goes by quickly.
      page.on('request', (asked) => { if (asked.url().includes('/login/oidc/callback')) page.callback = asked.url(); });
      await page.locator('button[type=submit]').click();
    }
    await page.waitForURL((url) => url.origin === home);
    await page.waitForLoadState('load');
  }
  return { context, page };
};
const said = (page) => page.textContent('body');
const isInside = async (page) => { await page.goto(`${home}/`); return !page.url().includes('/login'); };

const cases = {
  async 'who is registered is let in, to look: a decision wants a passkey all the same'(browser, gateway) {
    const agent = gateway.refund(4900);
    const asked = await until('the question', async () => gateway.approvals().find((one) => one.state === 'pending'));
    const { context, page } = await arrive(browser, 'sub-ada');
    await until('the inbox', async () => (await said(page)).includes(asked.code));
    await page.goto(`${home}/approvals/${asked.id}`);
    is(await page.locator('#decision form').count() > 0, 'an approver has no answers to give');
    // No passkey, no credential: the cookie alone decides nothing.
    await page.locator('#decision button.approve').click();
    await until('a refusal', async () => !(await said(page)).includes('Approved by') && /passkey|credential/i.test(await said(page)));
    is(gateway.approvals().find((one) => one.id === asked.id).state === 'pending', 'a session of the provider decided');
    gateway.cli('approvals', 'deny', asked.id, '--reason', 'seen');
    is((await agent).code !== 0, 'the agent was let through');
    await context.close();
  },

  async 'the provider grants roles, and never more than the configuration'(browser, gateway) {
    const agent = gateway.refund(777);
    const asked = await until('the question', async () => gateway.approvals().find((one) => one.state === 'pending'));
    const { context, page } = await arrive(browser, 'sub-vic');
    await page.goto(`${home}/approvals/${asked.id}`);
    is((await said(page)).includes(asked.code), 'a viewer sees nothing');
    is(await page.locator('#decision form').count() === 0, 'a reader has answers to give');
    const told = await page.evaluate(async (path) => {
      const answer = await fetch(path, { method: 'POST', body: new URLSearchParams({ verdict: 'approve' }) });
      return answer.status;
    }, `/approvals/${asked.id}/decision`);
    is(told >= 400, `a forged answer was taken: ${told}`);
    gateway.cli('approvals', 'deny', asked.id, '--reason', 'seen');
    await agent;
    await context.close();
    const nobody = await arrive(browser, 'sub-nil');
    is(!(await said(nobody.page)).includes(asked.code), 'somebody without a role saw a question');
    await nobody.context.close();
  },

  async 'who is authentic there and not registered here gets nothing'(browser) {
    const { context, page } = await arrive(browser, 'sub-eve');
    const words = await said(page);
    is(!(await isInside(page)), `a stranger is inside: ${words}`);
    is(/not registered|nobody|no person|may not/i.test(words), `the page does not say why: ${words}`);
    await context.close();
  },

  async 'who thinks better of it there is told so here'(browser) {
    const { context, page } = await arrive(browser);
    await page.locator('a[href*="abort"]').click();
    await page.waitForURL((url) => url.origin === home);
    is(!(await isInside(page)), 'an aborted login is a login');
    await context.close();
  },

  async 'what the browser came back with is good for that browser, once'(browser) {
    const { context, page } = await arrive(browser, 'sub-ada');
    is(await isInside(page) && page.callback, 'she is not inside');
    const other = await browser.newContext();
    const theirs = await other.newPage();
    const foreign = await theirs.goto(page.callback);
    is(foreign.status() >= 400 && !(await isInside(theirs)), `another browser got in by it: ${foreign.status()}`);
    const again = await page.goto(page.callback);
    is(again.status() >= 400, `it was good twice: ${again.status()}`);
    await other.close();
    await context.close();
  },
};

const gateway = await Gateway.start(
  { BAILIWICK_SERVER__CONSOLE: `127.0.0.1:${consolePort}` },
  { 'config.toml': CONFIG, 'oidc.secret': 'a secret of nobody: +/%&=' },
);
const code = await each(cases, gateway);
server.closeAllConnections();
server.close();
process.exit(code);
