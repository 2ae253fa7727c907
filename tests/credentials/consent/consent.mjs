// An owner connects a protected server at the console, at an authorization server that nobody here wrote; agents of the owner use it with a
// token of their own, and no longer once it is disconnected.
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createProbe } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { BINARY, Gateway, Person, each, grave, is, require, until } from '../../browser/harness.mjs';

const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const free = () => new Promise((found) => { const probe = createProbe(); probe.listen(0, '127.0.0.1', () => { const { port } = probe.address(); probe.close(() => found(port)); }); });
const [issuerPort, serverPort] = [await free(), await free()];
const [issuer, resource] = [`http://127.0.0.1:${issuerPort}`, `http://127.0.0.1:${serverPort}/mcp`];
const scopes = ['tickets:read', 'tickets:write'];

const provider = new Provider(issuer, {
  cookies: { keys: ['of no worth'] },
  scopes: ['openid', 'offline_access', ...scopes],
  clients: [],
  clientDefaults: { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] },
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, indicator) => {
        if (indicator !== resource) throw new Error(`no such resource: ${indicator}`);
        return { scope: scopes.join(' '), audience: resource, accessTokenTTL: 600, accessTokenFormat: 'opaque' };
      },
    },
  },
  issueRefreshToken: async () => true,
  findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  pkce: { required: () => true },
});
const authority = createServer(provider.callback());
await new Promise((ready) => authority.listen(issuerPort, '127.0.0.1', ready));

// The protected server: who calls, with which scopes, as the authorization server knows the token.
const seen = [];
const server = createServer(async (request, response) => {
  const json = (status, value, more = {}) => { response.writeHead(status, { 'content-type': 'application/json', ...more }); response.end(JSON.stringify(value)); };
  if (request.url === '/.well-known/oauth-protected-resource/mcp') return json(200, { resource, authorization_servers: [issuer], scopes_supported: scopes });
  const bearer = request.headers.authorization?.match(/^Bearer (.+)$/)?.[1];
  const token = bearer && await provider.AccessToken.find(bearer);
  if (!token || token.aud !== resource) {
    return json(401, {}, { 'www-authenticate': `Bearer resource_metadata="http://127.0.0.1:${serverPort}/.well-known/oauth-protected-resource/mcp"` });
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  if (request.method !== 'POST') return json(405, {});
  const { id, method, params } = JSON.parse(body);
  if (id === undefined) return response.writeHead(202).end();
  const result = {
    initialize: () => ({ protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'protected', version: '1' } }),
    'tools/list': () => ({ tools: ['get', 'refund'].map((name) => ({ name, inputSchema: { type: 'object' } })) }),
    'tools/call': () => {
      seen.push({ tool: params.name, account: token.accountId, scope: token.scope, bearer });
      return { content: [{ type: 'text', text: `${token.accountId} may ${token.scope}` }] };
    },
  }[method];
  return result ? json(200, { jsonrpc: '2.0', id, result: result() }) : json(200, { jsonrpc: '2.0', id, error: { code: -32601, message: 'unknown method' } });
});
await new Promise((ready) => server.listen(serverPort, '127.0.0.1', ready));

const CONFIG = `
[[agents]]
id = "demo"
owner = "ops@example.com"
ceiling = "high"
[[agents]]
id = "other"
owner = "sales@example.com"
ceiling = "high"
[[providers]]
id = "owners"
mcp = { issuers = ["${issuer}"], register = true, revocable = false }
[[connectors]]
id = "up"
url = "${resource}"
labels = []
credential = { provider = "owners", scopes = ["tickets:read", "tickets:write"], read_scopes = ["tickets:read"], ttl = "1h", inject = { header = "Authorization", prefix = "Bearer " } }
tools.get = { kind = "read", band = "low" }
tools.refund = { kind = "write", band = "low" }
[[grants]]
id = "look"
agent = "demo"
purpose = "look at tickets"
tools = ["up__get"]
default = true
ttl = "1h"
[[grants]]
id = "sell"
agent = "other"
purpose = "look at tickets too"
tools = ["up__get"]
default = true
ttl = "1h"
[[people]]
id = "olga"
owns = ["ops@example.com"]
roles = ["viewer"]
[[people]]
id = "vic"
roles = ["viewer"]
[[people]]
id = "amy"
owns = ["admins@example.com"]
roles = ["viewer", "admin"]
`;

// Connects this owner: signed by a passkey here, logged in and agreed to there.
const connect = async (person, owner, account) => {
  await person.open('/connections');
  const card = person.page.locator('section.card', { hasText: `up for ${owner}` });
  await card.locator('form[action="/connections/begin"] button').first().click();
  await person.page.waitForSelector('#onward');
  await person.picture(`onward-${account}`);
  is((await person.page.textContent('main')).includes(issuer), 'the page does not say where it leads');
  await person.page.click('#onward');
  await person.page.waitForURL(`${issuer}/interaction/**`);
  if (await person.page.locator('input[name=login]').count()) {
    await person.page.fill('input[name=login]', account);
    await person.page.fill('input[name=password]', 'any');
    await person.page.locator('button[type=submit]').click();
  }
  await until('the consent', async () => (await person.page.content()).includes('Authorize') || person.page.url().startsWith(person.origin));
  person.page.on('request', (asked) => { if (asked.url().includes('/connections/callback')) person.callback = asked.url(); });
  if (!person.page.url().startsWith(person.origin)) await person.page.locator('button[type=submit]').click();
  await person.page.waitForURL(`${person.origin}/connections`);
  // The pages over there load what they like.
  person.faults = [];
};
// Both servers are in this process: a command that needs them is waited for, and does not stop it.
const cli = async (gateway, ...words) => (await promisify(execFile)(BINARY, ['--data', gateway.data, ...words], { env: gateway.env, cwd: gateway.folder }).catch((fault) => { throw new Error(`${fault.stdout}${fault.stderr}`); })).stdout;
// All that is on record.
const record = (gateway) => {
  const folder = join(gateway.data, 'trail');
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  return files.map((one) => readFileSync(join(one.parentPath ?? one.path, one.name), 'utf8')).join('\n');
};
const call = (gateway, agent = 'demo') => gateway.call('up__get', '--agent', agent);

const cases = {
  async 'nothing is lent before somebody consents, and the agent hears no more than that'(browser, gateway) {
    const amy = await Person.arrive(browser, gateway, { person: 'amy' });
    await connect(amy, 'sales@example.com', 'sam');
    await cli(gateway, 'connectors', 'pin', 'up', '--yes');
    const said = await call(gateway);
    is(said.code !== 0, 'a call went through without a consent');
    is(!/connections|issuer|consent|127\.0\.0\.1/.test(said.said), `the agent hears too much: ${said.said}`);
    is(/has not consented to `up`: connect at/.test(record(gateway)), 'the record does not say what to do');
    await amy.leave();
  },

  async 'an owner connects in a browser, and a task has a narrowed token of its own'(browser, gateway) {
    const olga = await Person.arrive(browser, gateway, { person: 'olga' });
    await olga.open('/connections');
    await olga.picture('connections');
    const page = await olga.page.textContent('main');
    is(page.includes('up for ops@example.com') && !page.includes('sales@example.com'), `she sees other owners: ${page}`);
    const wrong = await grave(olga.page);
    is(!wrong, wrong);
    await connect(olga, 'ops@example.com', 'olga-there');
    await olga.picture('connected');
    is((await olga.page.textContent('main')).includes('Disconnect'), 'it is not shown as connected');
    const said = await until('a call that works', async () => { const one = await call(gateway); return one.code === 0 && one; });
    is(said.said.includes('olga-there may tickets:read') && !said.said.includes('tickets:write'), said.said);
    const other = await call(gateway, 'other');
    is(other.said.includes('sam may tickets:read'), `another owner's task: ${other.said}`);
    is(new Set(seen.map((one) => one.bearer)).size === 2, 'two tasks have one token');
    const again = await olga.page.goto(olga.callback);
    is(again.status() >= 400, `the callback was good twice: ${again.status()}`);
    // The browser says so by itself.
    olga.faults = [];
    await olga.leave();
  },

  async 'who owns nothing of it connects and disconnects nothing'(browser, gateway) {
    const vic = await Person.arrive(browser, gateway, { person: 'vic' });
    await vic.open('/connections');
    is(!(await vic.page.textContent('main')).includes('up for'), 'a viewer sees whose server is connected');
    await vic.leave();
  },

  async 'disconnected is taken back at the issuer, and the next call is refused'(browser, gateway) {
    const olga = await Person.arrive(browser, gateway, { person: 'olga' });
    const before = seen.find((one) => one.account === 'olga-there').bearer;
    await olga.open('/connections');
    await olga.page.locator('form[action="/connections/end"] button').click();
    await until('the end of it', async () => !(await olga.page.textContent('main').catch(() => 'Disconnect')).includes('Disconnect'));
    const said = await call(gateway);
    is(said.code !== 0, `a call went through: ${said.said}`);
    await until('the token to be taken back', async () => !(await provider.AccessToken.find(before)));
    is((await call(gateway, 'other')).code === 0, 'another owner lost theirs too');
    const text = gateway.said() + record(gateway);
    is(!seen.some((one) => text.includes(one.bearer)), 'a token is in a log or a record');
    is(/consent_given/.test(text) && /consent_ended/.test(text), 'it is not on record');
    await olga.leave();
  },
};

const gateway = await Gateway.start({}, { 'config.toml': CONFIG });
const code = await each(cases, gateway);
authority.closeAllConnections();
authority.close();
server.close();
process.exit(code);
