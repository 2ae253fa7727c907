import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

CONNECTION

const client = new Client({ name: 'agent', version: '1.0.0' });
await client.connect(new StdioClientTransport({ command: COMMAND, args: ARGUMENTS }));

// Such as: await call('connector__tool', { key: 'value' })
const call = (name, args) => client.callTool({ name, arguments: args }, undefined, PATIENCE);

for (const tool of (await client.listTools(undefined, PATIENCE)).tools) console.log(tool.name);
await client.close();
