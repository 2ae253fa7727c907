// The protocol up to 2025-11-25: `initialize`, sessions, and a server that asks by requests of its own.
import { randomUUID } from 'node:crypto';
import { Fault, Unasked, Undeclared, undeclared } from './faults.mjs';
import { LEVELS, Offer } from './offer.mjs';
import { Answer } from './stream.mjs';

class Session {
  constructor(capabilities) {
    this.id = randomUUID();
    this.capabilities = capabilities;
    this.level = 'info';
    this.watched = new Set();
    this.questions = new Map();
    this.listening = null;
    this.resumable = new Map();
  }

  /** A notification that belongs to no request. */
  tell(notification) {
    if (this.listening?.isOpen) this.listening.say({ jsonrpc: '2.0', ...notification });
  }
}

/** One request, as a fixture sees it. */
class Call {
  constructor(session, message, answer) {
    this.session = session;
    this.name = message.params?.name;
    this.args = message.params?.arguments ?? {};
    this.meta = message.params?._meta ?? {};
    this.capabilities = session.capabilities;
    this.answer = answer;
  }

  log(level, data) {
    if (LEVELS.indexOf(level) >= LEVELS.indexOf(this.session.level))
      this.say('notifications/message', { level, logger: 'fixtures', data });
  }

  progress(progress, total) {
    const progressToken = this.meta.progressToken;
    if (progressToken !== undefined) this.say('notifications/progress', { progressToken, progress, total });
  }

  say(method, params) {
    this.answer.say({ jsonrpc: '2.0', method, params });
  }

  /** Asks the client, and waits for what it says. */
  async ask(requests) {
    const lacking = undeclared(requests, this.capabilities);
    if (Object.keys(lacking).length > 0) throw new Unasked(`the client does not support ${Object.keys(lacking).join(', ')}`);
    const asked = Object.entries(requests).map(async ([key, { method, params }]) => {
      const id = randomUUID();
      const answered = new Promise((resolve, reject) => this.session.questions.set(id, { resolve, reject }));
      this.answer.say({ jsonrpc: '2.0', id, method, params });
      return [key, await answered];
    });
    return Object.fromEntries(await Promise.all(asked));
  }

  /** Closes the stream: the client has to come back for the answer. */
  hangUp() {
    const id = `${this.session.id}/${randomUUID()}`;
    this.answer.prime(id, 300);
    this.answer.res.end();
    const waiting = {};
    waiting.said = new Promise(resolve => (waiting.say = resolve));
    this.session.resumable.set(id, waiting);
    this.answer = { end: message => waiting.say(message), say: () => {} };
  }
}

export class Legacy {
  constructor(version) {
    this.version = version;
    this.sessions = new Map();
    this.offer = new Offer(notification => this.sessions.forEach(session => session.tell(notification)));
  }

  /** GET, for what the server says unasked and to resume; DELETE, to end a session. */
  other(req, res) {
    const session = this.sessions.get(req.headers['mcp-session-id']);
    if (!session) return res.writeHead(req.headers['mcp-session-id'] ? 404 : 400).end();
    if (req.method === 'DELETE') {
      session.listening?.res.end();
      this.sessions.delete(session.id);
      return res.writeHead(200).end();
    }
    if (req.method !== 'GET') return res.writeHead(405, { allow: 'GET, POST, DELETE' }).end();
    const answer = new Answer(res);
    answer.stream();
    const last = req.headers['last-event-id'];
    if (last === undefined) {
      session.listening?.res.end();
      session.listening = answer;
      return;
    }
    const waiting = session.resumable.get(last);
    if (!waiting) return res.end();
    session.resumable.delete(last);
    return waiting.said.then(message => answer.end(message));
  }

  async take(message, req, res) {
    if (message.method === 'initialize') return this.begin(message, res);
    const id = req.headers['mcp-session-id'];
    const session = this.sessions.get(id);
    const answer = new Answer(res);
    if (!session) {
      const why = id ? 'Session not found' : 'Bad Request: Server not initialized';
      return answer.end({ jsonrpc: '2.0', id: null, error: { code: id ? -32001 : -32000, message: why } }, id ? 404 : 400);
    }
    if (message.method === undefined) {
      const question = session.questions.get(message.id);
      session.questions.delete(message.id);
      if (message.error) question?.reject(new Unasked(`the client refused: ${message.error.message}`));
      else question?.resolve(message.result);
      return res.writeHead(202).end();
    }
    if (message.id === undefined) return res.writeHead(202).end();
    const call = new Call(session, message, answer);
    try {
      const result = await this.result(message, session, call);
      call.answer.end({ jsonrpc: '2.0', id: message.id, result });
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      call.answer.end({ jsonrpc: '2.0', id: message.id, error: fault.error });
    }
  }

  begin(message, res) {
    const session = new Session(message.params?.capabilities ?? {});
    this.sessions.set(session.id, session);
    const capabilities = {
      tools: { listChanged: true },
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      completions: {},
      logging: {},
    };
    const result = { protocolVersion: this.version, capabilities, serverInfo: this.offer.info };
    new Answer(res, { 'mcp-session-id': session.id }).end({ jsonrpc: '2.0', id: message.id, result });
  }

  result(message, session, call) {
    const params = message.params ?? {};
    switch (message.method) {
      case 'ping':
        return {};
      case 'logging/setLevel':
        if (!LEVELS.includes(params.level)) throw new Fault(-32602, `there is no level ${params.level}`);
        session.level = params.level;
        return {};
      case 'resources/subscribe':
        session.watched.add(params.uri);
        return {};
      case 'resources/unsubscribe':
        session.watched.delete(params.uri);
        return {};
      case 'tools/call':
        return this.offer.call(call).catch(fault => {
          // This era has no error for it: a tool that can't ask says so in its result.
          if (fault instanceof Undeclared || fault instanceof Unasked)
            return { content: [{ type: 'text', text: fault.message }], isError: true };
          throw fault;
        });
      case 'prompts/get':
        return this.offer.prompt(call);
      case 'resources/read':
        return this.offer.read(params.uri, -32002);
      default:
        return this.offer.other(message.method, params);
    }
  }
}
