// The TypeScript SDK, first generation, as an agent: it speaks the older era only.
import { answerTo, need, run } from './lines.mjs';

const { Client } = need('@modelcontextprotocol/sdk/client/index.js');
const { StdioClientTransport } = need('@modelcontextprotocol/sdk/client/stdio.js');
const { StreamableHTTPClientTransport } = need('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { ElicitRequestSchema } = need('@modelcontextprotocol/sdk/types.js');

await run(
    async (where) => {
        const client = new Client({ name: 'typescript-v1', version: '1.0.0' }, { capabilities: { elicitation: { form: {}, url: {} } } });
        client.setRequestHandler(ElicitRequestSchema, async (request) => answerTo(request));
        const way =
            where.transport === 'stdio'
                ? new StdioClientTransport({ command: where.command, args: where.args, env: where.env })
                : new StreamableHTTPClientTransport(new URL(where.url), {
                      requestInit: { headers: { Authorization: `Bearer ${where.token}` } },
                  });
        await client.connect(way);
        return client;
    },
    (client, params, options) => client.callTool(params, undefined, options),
);
