// Two issuers whose keys have the same name. Says where they are; then each line asks for a token of one of them, which is the answer.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const { OAuth2Server } = createRequire(join(process.env.BAILIWICK_MOCK_MODULES, 'mock.cjs'))('oauth2-mock-server');
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const servers = [];
for (let one = 0; one < 2; one += 1) {
    const server = new OAuth2Server();
    await server.issuer.keys.generate('RS256', { kid: 'signing' });
    await server.start(0, '127.0.0.1');
    servers.push(server);
}
say(servers.map((server) => server.issuer.url));

for await (const line of createInterface({ input: process.stdin })) {
    const { by, header, claims } = JSON.parse(line);
    const scopesOrTransform = (own, payload) => {
        Object.assign(own, header);
        Object.assign(payload, claims);
    };
    say(await servers[by].issuer.buildToken({ scopesOrTransform }));
}
process.exit(0);
