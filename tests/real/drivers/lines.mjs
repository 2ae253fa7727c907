// What the drivers in JavaScript share: see lines.py.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Finds the packages in the cache, where no file of the repository lies above. */
export const need = createRequire(join(process.env.BAILIWICK_NODE_MODULES, 'drivers.cjs'));

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const words = (content) => content.filter((part) => part.type === 'text').map((part) => part.text).join('');

async function answered(client, wish) {
    try {
        if (wish.do === 'list') return { kind: 'list', names: (await client.listTools()).tools.map((tool) => tool.name) };
        const answer = await client.callTool({ name: wish.tool, arguments: wish.arguments });
        return { kind: answer.isError ? 'refusal' : 'result', words: words(answer.content) };
    } catch (fault) {
        return { kind: 'fault', words: `${fault.name}: ${fault.message}` };
    }
}

/** The whole driver: connects, says so, and answers line by line until there is no more. */
export async function run(connect) {
    const client = await connect(JSON.parse(process.argv[2]));
    say({ kind: 'connected' });
    for await (const line of createInterface({ input: process.stdin })) say(await answered(client, JSON.parse(line)));
    await client.close();
}
