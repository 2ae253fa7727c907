// The TypeScript SDK, second generation, as an agent.
import { answerTo, need, run } from './lines.mjs';

const { Client, StreamableHTTPClientTransport } = need('@modelcontextprotocol/client');
const { StdioClientTransport } = need('@modelcontextprotocol/client/stdio');

await run(
    async (where) => {
        const mode = { legacy: 'legacy', modern: 'auto' }[where.era];
        const capabilities = { elicitation: { form: {}, url: {} } };
        const client = new Client({ name: 'typescript-v2', version: '1.0.0' }, { versionNegotiation: { mode }, capabilities });
        client.setRequestHandler('elicitation/create', async (request) => answerTo(request));
        const way =
            where.transport === 'stdio'
                ? new StdioClientTransport({ command: where.command, args: where.args, env: where.env })
                : new StreamableHTTPClientTransport(new URL(where.url), {
                      requestInit: { headers: { Authorization: `Bearer ${where.token}` } },
                  });
        await client.connect(way);
        return client;
    },
    (client, params, options) => client.callTool(params, options),
);
