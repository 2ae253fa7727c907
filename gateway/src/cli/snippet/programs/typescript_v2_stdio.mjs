import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

CONNECTION

const client = new Client({ name: 'agent', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(new StdioClientTransport({ command: COMMAND, args: ARGUMENTS }));

// Such as: await call('connector__tool', { key: 'value' })
const call = (name, args) => client.callTool({ name, arguments: args }, PATIENCE);

for (const tool of (await client.listTools(undefined, PATIENCE)).tools) console.log(tool.name);
await client.close();
