// A certified authorization server on this machine. Standard input says who its clients are; says where it is, and each token that it issues.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const require = createRequire(join(process.env.BAILIWICK_OIDC_MODULES, 'provider.cjs'));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { port, clients } = JSON.parse((await lines.next()).value);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: clients.map((client) => ({ redirect_uris: [], response_types: [], grant_types: ['client_credentials'], ...client })),
  scopes: ['tickets.read', 'tickets.write', 'admin'],
  cookies: { keys: ['of no worth'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    // Whoever proves with a key has to show its nonce, too.
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
  },
  ttl: { ClientCredentials: 600 },
});
provider.on('server_error', (_, fault) => console.error(fault));
provider.on('client_credentials.saved', (token) => process.stdout.write(`${JSON.stringify({ issued: token.jti })}\n`));
await new Promise((ready) => createServer(provider.callback()).listen(port, '127.0.0.1', ready));
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
await lines.next();
process.exit(0);
