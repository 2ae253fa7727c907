// Carries the suite's HTTP requests over standard input and output: to one `bailiwick stdio` for each session of the older era, and to one
// for all requests of 2026-07-28. What only HTTP has is done here: sessions, status codes, headers and event streams.
// node lines.mjs PORT COMMAND…
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import readline from 'node:readline';

const [port, program, ...words] = process.argv.slice(2);
const MODERN = '2026-07-28';
const VERSION = 'io.modelcontextprotocol/protocolVersion';
const SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId';
const STATUS = { '-32601': 404, '-32602': 400, '-32020': 400, '-32021': 400, '-32022': 400 };

/** The response to one request of the suite: JSON, unless something comes before the answer. */
class Reply {
  constructor(message, res, headers) {
    this.message = message;
    this.res = res;
    this.headers = headers;
  }

  say(message) {
    if (this.res.destroyed || this.res.writableEnded) return;
    if (!this.res.headersSent) {
      this.res.writeHead(200, { ...this.headers, 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    }
    this.res.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
  }

  end(message, status) {
    if (this.res.headersSent) {
      this.say(message);
      this.res.end();
      return;
    }
    this.res.writeHead(status, { ...this.headers, 'content-type': 'application/json' });
    this.res.end(JSON.stringify(message));
  }
}

/** One `bailiwick stdio`. */
class Child {
  constructor(isModern) {
    this.isModern = isModern;
    this.open = new Map();
    this.listening = null;
    this.process = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.process.stdin.on('error', () => {});
    this.process.on('exit', () => this.open.forEach(reply => reply.res.destroy()));
    readline.createInterface({ input: this.process.stdout }).on('line', line => this.hear(JSON.parse(line)));
  }

  send(message) {
    this.process.stdin.write(`${JSON.stringify(message)}\n`);
  }

  request(message, reply) {
    if (this.open.has(message.id))
      return reply.end({ jsonrpc: '2.0', id: null, error: { code: -32600, message: 'this id is under way' } }, 500);
    this.open.set(message.id, reply);
    reply.res.on('close', () => {
      // Who hangs up cancels, which on lines is said in words.
      if (this.open.delete(message.id))
        this.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: message.id } });
    });
    this.send(message);
  }

  hear(message) {
    if (message.method !== undefined) return this.before(message);
    const reply = this.open.get(message.id);
    this.open.delete(message.id);
    if (!reply) return process.stderr.write(`an answer to nothing: ${JSON.stringify(message)}\n`);
    return reply.end(message, (this.isModern && STATUS[message.error?.code]) || 200);
  }

  /** A request or notification of the gateway's: to the stream of the request that it belongs to. */
  before(message) {
    const subscription = message.params?._meta?.[SUBSCRIPTION];
    if (subscription !== undefined) return this.open.get(subscription)?.say(message);
    const calls = [...this.open.values()].filter(reply => reply.message.method !== 'subscriptions/listen');
    const token = message.params?.progressToken;
    const mine = token === undefined ? calls : calls.filter(reply => reply.message.params?._meta?.progressToken === token);
    // Lines do not tell which request it is about: the suite has one under way at a time.
    const to = mine[0] ?? this.listening;
    if (!to) process.stderr.write(`for nobody: ${JSON.stringify(message)}\n`);
    return to?.say(message);
  }

  /** The stream for what is said unasked. */
  listen(res) {
    this.listening = new Reply({}, res, {});
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    res.flushHeaders();
    res.on('close', () => (this.listening = null));
  }

  end() {
    this.listening?.res.end();
    this.process.stdin.end();
  }
}

const sessions = new Map();
let modern;

function stateless(message, req, res) {
  modern ??= new Child(true);
  const said = message.params?._meta?.[VERSION];
  const reply = new Reply(message, res, {});
  if (said !== undefined && req.headers['mcp-protocol-version'] !== said) {
    return reply.end(
      { jsonrpc: '2.0', id: message.id ?? null, error: { code: -32020, message: 'Header mismatch: MCP-Protocol-Version' } },
      400,
    );
  }
  return modern.request(message, reply);
}

function session(message, req, res) {
  if (message.method === 'initialize') {
    const id = randomUUID();
    sessions.set(id, new Child(false));
    return sessions.get(id).request(message, new Reply(message, res, { 'mcp-session-id': id }));
  }
  const child = sessions.get(req.headers['mcp-session-id']);
  if (!child) return res.writeHead(req.headers['mcp-session-id'] ? 404 : 400).end();
  if (message.method !== undefined && message.id !== undefined) return child.request(message, new Reply(message, res, {}));
  child.send(message);
  return res.writeHead(202).end();
}

http
  .createServer(async (req, res) => {
    if (req.method !== 'POST') {
      const id = req.headers['mcp-session-id'];
      const child = sessions.get(id);
      if (!child) return res.writeHead(405).end();
      if (req.method === 'GET') return child.listen(res);
      sessions.delete(id);
      child.end();
      return res.writeHead(200).end();
    }
    const parts = [];
    for await (const part of req) parts.push(part);
    const message = JSON.parse(Buffer.concat(parts));
    const isModern = (req.headers['mcp-protocol-version'] ?? '') >= MODERN || message.params?._meta?.[VERSION] !== undefined;
    return isModern ? stateless(message, req, res) : session(message, req, res);
  })
  .listen(Number(port), '127.0.0.1', () => process.stdout.write(`${port}\n`));

// Standard input is ours alone: whoever started us is gone when it ends.
process.stdin.resume().on('end', () => {
  modern?.end();
  sessions.forEach(child => child.end());
  process.exit(0);
});
