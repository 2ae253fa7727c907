// The TypeScript SDK, second generation, as an agent.
import { need, run } from './lines.mjs';

const { Client, StreamableHTTPClientTransport } = need('@modelcontextprotocol/client');
const { StdioClientTransport } = need('@modelcontextprotocol/client/stdio');

await run(async (where) => {
    const mode = { legacy: 'legacy', modern: 'auto' }[where.era];
    const client = new Client({ name: 'typescript-v2', version: '1.0.0' }, { versionNegotiation: { mode } });
    const way =
        where.transport === 'stdio'
            ? new StdioClientTransport({ command: where.command, args: where.args, env: where.env })
            : new StreamableHTTPClientTransport(new URL(where.url), {
                  requestInit: { headers: { Authorization: `Bearer ${where.token}` } },
              });
    await client.connect(way);
    return client;
});
