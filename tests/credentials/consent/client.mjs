// A gateway as the client of a scenario: it is configured with the scenario's server, its owner consents without a browser by following the
// redirects, and an agent calls a tool. Started by the suite, with the server's URL as the last argument.
import { Gateway, is } from '../../browser/harness.mjs';

const url = process.argv.at(-1);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO ?? '';
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const DOCUMENT = 'https://conformance-test.local/client-metadata.json';

// By hand where the scenario gives an id; else by a document where the issuer takes that, and by registration where it does not.
const issuerOf = async () => {
  const { origin, pathname } = new URL(url);
  for (const place of [`${origin}/.well-known/oauth-protected-resource${pathname}`, `${origin}/.well-known/oauth-protected-resource`]) {
    const answer = await fetch(place).catch(() => null);
    if (answer?.ok) return (await answer.json()).authorization_servers[0];
  }
  throw new Error('no metadata');
};
const known = context.client_id
  ? `issuers = [${JSON.stringify(await issuerOf())}], client_id = ${JSON.stringify(context.client_id)}${context.client_secret ? ', client_secret_file = "client.secret"' : ''}`
  : `client_metadata_url = ${JSON.stringify(DOCUMENT)}, register = true`;
const CONFIG = `
[[agents]]
id = "demo"
owner = "ops@example.com"
ceiling = "high"
[[providers]]
id = "owners"
mcp = { ${known}, revocable = false }
[[connectors]]
id = "up"
url = ${JSON.stringify(url)}
networks = ["127.0.0.0/8", "::1/128"]
labels = []
credential = { provider = "owners", ttl = "1h", inject = { header = "Authorization", prefix = "Bearer " } }
tools.test-tool = { kind = "read", band = "low" }
[[grants]]
id = "task"
agent = "demo"
purpose = "see whether it works"
tools = ["up__*"]
default = true
ttl = "1h"
`;

// A browser without a screen: cookies of one site, and no redirect that nobody looked at.
class Visitor {
  cookies = new Map();
  constructor(gateway) { this.gateway = gateway; }
  async ask(to, form) {
    const headers = { cookie: [...this.cookies].map((pair) => pair.join('=')).join('; '), 'sec-fetch-site': 'same-origin' };
    if (form) Object.assign(headers, { origin: this.origin, 'content-type': 'application/x-www-form-urlencoded' });
    const body = form && new URLSearchParams(form).toString();
    const answer = await fetch(new URL(to, this.origin), { method: form ? 'POST' : 'GET', headers, body, redirect: 'manual' });
    for (const set of answer.headers.getSetCookie()) {
      const [, name, value] = set.match(/^([^=]+)=([^;]*)/);
      this.cookies.set(name, value);
    }
    return { status: answer.status, to: answer.headers.get('location'), text: await answer.text() };
  }
  async arrive() {
    const link = new URL(this.gateway.link());
    this.origin = link.origin;
    const { text } = await this.ask('/login');
    const fields = fieldsOf(text, '/login/link');
    await this.ask('/login/link', { ...fields, code: link.hash.slice(1) });
  }
  // Connects the first that is shown; whether that came about.
  async connect() {
    const { text } = await this.ask('/connections');
    const fields = fieldsOf(text, '/connections/begin');
    const begun = await this.ask('/connections/begin', { ...fields, operator: this.gateway.credential() });
    let to = begun.text.match(/id="onward"[^>]*href="([^"]+)"|href="([^"]+)"[^>]*id="onward"/)?.slice(1).find(Boolean)?.replaceAll('&amp;', '&');
    if (!to) return console.error(`not begun: ${begun.status} ${plain(begun.text)}`), false;
    while (!to.startsWith(this.origin)) {
      const answer = await fetch(to, { redirect: 'manual' });
      const next = answer.headers.get('location');
      if (!next) return console.error(`the issuer stops at ${to}: ${answer.status} ${await answer.text()}`), false;
      to = new URL(next, to).href;
    }
    const back = await this.ask(to);
    if (back.status !== 303) console.error(`not connected: ${back.status} ${plain(back.text)}`);
    return back.status === 303;
  }
}
const plain = (text) => text.replace(/<(script|style)[^]*?<\/\1>/g, '').replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ').slice(0, 700);
const fieldsOf = (text, action) => {
  const form = text.split('<form').find((one) => one.includes(`action="${action}"`));
  is(form, `no form goes to ${action}: ${plain(text)}`);
  const inputs = form.split('</form>')[0].matchAll(/<input[^>]*type="hidden"[^>]*>/g);
  return Object.fromEntries([...inputs].map(([input]) => [input.match(/name="([^"]*)"/)[1], input.match(/value="([^"]*)"/)?.[1] ?? '']).filter(([name]) => name !== 'assertion'));
};

const gateway = await Gateway.start({}, { 'config.toml': CONFIG, 'client.secret': context.client_secret ?? 'none' });
let code = 1;
try {
  const visitor = new Visitor(gateway);
  await visitor.arrive();
  const twice = /migration/.test(scenario) ? 2 : 1;
  for (let round = 0; round < twice; round += 1) {
    if (!(await visitor.connect())) break;
    try {
      gateway.cli('connectors', 'pin', 'up', '--yes');
    } catch (fault) {
      // Its server has gone over to another issuer meanwhile: the owner connects it again.
      if (round + 1 < twice) continue;
      throw fault;
    }
    const called = await gateway.call('up__test-tool');
    if (called.code !== 0) console.error(`the call: ${called.said}`);
    code = called.code;
  }
} catch (fault) {
  console.error(String(fault.stderr ?? fault.stack));
}
if (code) console.error(gateway.said().slice(-1500));
await gateway.stop();
process.exit(code);
