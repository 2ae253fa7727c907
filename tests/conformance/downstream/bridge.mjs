// Standard input and output for the fixtures' server, as `bailiwick stdio` is for the gateway: proves what carries the suite over lines.
// node bridge.mjs PORT
import readline from 'node:readline';

const url = `http://127.0.0.1:${process.argv[2]}/mcp`;
const NAMED = ['name', 'uri', 'taskId'];
const open = new Map();
let session;
let version;

/** One line, and that it was one. */
const say = text => {
  process.stdout.write(`${text}\n`);
  return 1;
};

function headers(message) {
  const meta = message?.params?._meta?.['io.modelcontextprotocol/protocolVersion'];
  const name = NAMED.map(key => message?.params?.[key]).find(value => typeof value === 'string');
  return {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    ...(meta || version ? { 'mcp-protocol-version': meta ?? version } : {}),
    ...(message?.method ? { 'mcp-method': message.method } : {}),
    ...(name === undefined ? {} : { 'mcp-name': name }),
    ...(session ? { 'mcp-session-id': session } : {}),
  };
}

/** Every message of a response, as a line. */
async function tell(response) {
  if (!response.headers.get('content-type')?.includes('event-stream')) {
    const text = await response.text();
    if (text) say(text);
    return;
  }
  let rest = '';
  let [last, said] = [undefined, 0];
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('id: ')) last = line.slice('id: '.length);
      if (/^data: ./.test(line)) said += say(line.slice('data: '.length));
    }
  }
  // Closed before anything was said: the answer is there for who comes back.
  if (last && said === 0)
    await tell(await fetch(url, { headers: { ...headers(), accept: 'text/event-stream', 'last-event-id': last } }));
}

async function carry(message) {
  const under = new AbortController();
  if (message.method && message.id !== undefined) open.set(message.id, under);
  // Lines tell the eras apart by what is in a message; this server also by the header of its request.
  const said = headers(message);
  if (!session && message.method !== 'initialize') said['mcp-protocol-version'] ??= '2026-07-28';
  const response = await fetch(url, { method: 'POST', headers: said, body: JSON.stringify(message), signal: under.signal });
  if (message.method === 'initialize') {
    session = response.headers.get('mcp-session-id');
    const answer = await response.json();
    version = answer.result?.protocolVersion;
    say(JSON.stringify(answer));
    fetch(url, { headers: { ...headers(), accept: 'text/event-stream' } }).then(tell, () => {});
    return;
  }
  await tell(response);
  open.delete(message.id);
}

readline
  .createInterface({ input: process.stdin })
  .on('line', line => {
    const message = JSON.parse(line);
    if (message.method === 'notifications/cancelled' && !session) return open.get(message.params.requestId)?.abort();
    return carry(message).catch(fault => fault.name === 'AbortError' || process.stderr.write(`${fault.stack}\n`));
  })
  .on('close', () => process.exit(0));
