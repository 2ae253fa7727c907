// What the drivers in JavaScript share: see lines.py.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Finds the packages in the cache, where no file of the repository lies above. */
export const need = createRequire(join(process.env.BAILIWICK_NODE_MODULES, 'drivers.cjs'));

// What came while a call ran: progress, in its words, and what the user was asked; and what this user says to a question.
let told = [];
let asked = [];
let conduct = 'decline';

/** Answers a question to the user. */
export function answerTo(request) {
    asked.push(request.params.message);
    return conduct === 'accept' ? { action: 'accept', content: { sure: true } } : { action: conduct };
}

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const words = (content) => content.filter((part) => part.type === 'text').map((part) => part.text).join('');

/** A held call outlasts the hold: the clock of its timeout is set back by whatever progress comes. */
const options = (patience) => ({
    onprogress: (progress) => told.push(progress.message ?? String(progress.progress)),
    ...(patience ? { timeout: patience * 1000 } : { timeout: 12000, resetTimeoutOnProgress: true, maxTotalTimeout: 120000 }),
});

const wishes = {
    tools: async (client) => (await client.listTools()).tools.map((tool) => tool.name),
    resources: async (client) => (await client.listResources()).resources.map((resource) => resource.uri),
    templates: async (client) => (await client.listResourceTemplates()).resourceTemplates.map((template) => template.uriTemplate),
    read: async (client, { uri }) => (await client.readResource({ uri })).contents.map((part) => part.text).join(''),
    prompts: async (client) => (await client.listPrompts()).prompts.map((prompt) => prompt.name),
    prompt: async (client, { name, arguments: given }) => words((await client.getPrompt({ name, arguments: given })).messages.map((message) => message.content)),
    complete: async (client, { of, name, argument, value }) => {
        const ref = of === 'prompt' ? { type: 'ref/prompt', name } : { type: 'ref/resource', uri: name };
        return (await client.complete({ ref, argument: { name: argument, value } })).completion.values;
    },
    call: async (client, { tool, arguments: given, patience }, callTool) => {
        const answer = await callTool(client, { name: tool, arguments: given }, options(patience));
        return { kind: answer.isError ? 'refusal' : 'result', words: words(answer.content) };
    },
};

async function answered(client, wish, callTool) {
    conduct = wish.conduct ?? 'decline';
    let said;
    try {
        said = await wishes[wish.do](client, wish, callTool);
    } catch (fault) {
        said = { kind: 'fault', words: `${fault.name}: ${fault.message}` };
    }
    if (Array.isArray(said)) said = { kind: 'list', names: said };
    if (typeof said === 'string') said = { kind: 'result', words: said };
    const answer = { ...said, told, asked };
    told = [];
    asked = [];
    return answer;
}

/** The whole driver: connects, says so, and answers line by line until there is no more. */
export async function run(connect, callTool) {
    const client = await connect(JSON.parse(process.argv[2]));
    say({ kind: 'connected' });
    for await (const line of createInterface({ input: process.stdin })) say(await answered(client, JSON.parse(line), callTool));
    await client.close();
}
