// The protocol of 2026-07-28: no session, metadata in every request, and questions that are results.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Fault, Questions, Undeclared, undeclared } from './faults.mjs';
import { LEVELS, Offer } from './offer.mjs';
import { Answer } from './stream.mjs';
import { EXTENSION, Tasks } from './tasks.mjs';

const VERSION = 'io.modelcontextprotocol/protocolVersion';
const CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities';
const LEVEL = 'io.modelcontextprotocol/logLevel';
const SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId';
const SERVER = 'io.modelcontextprotocol/serverInfo';
const FRESH = { ttlMs: 60000, cacheScope: 'private' };
const CACHEABLE = [
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
];
const NAMES = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
  'tasks/get': 'taskId',
  'tasks/update': 'taskId',
  'tasks/cancel': 'taskId',
};
const FILTERS = {
  'notifications/tools/list_changed': 'toolsListChanged',
  'notifications/prompts/list_changed': 'promptsListChanged',
  'notifications/resources/list_changed': 'resourcesListChanged',
};
const key = randomBytes(32);

/** What the client carries for us from round to round, and can't change. */
function seal(state) {
  const text = Buffer.from(JSON.stringify({ ...state, nonce: randomBytes(8).toString('hex') })).toString('base64url');
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`;
}

function unseal(sealed, name) {
  const [text, mark = ''] = String(sealed).split('.');
  const [made, seen] = [createHmac('sha256', key).update(text).digest(), Buffer.from(mark, 'base64url')];
  // Base64 ignores what is no digit: the text itself must be ours, too.
  const isOurs = seen.length === made.length && timingSafeEqual(made, seen) && made.toString('base64url') === mark;
  const state = isOurs ? JSON.parse(Buffer.from(text, 'base64url')) : {};
  if (state.name !== name) throw new Fault(-32602, 'this is no requestState of this request');
  return state;
}

/** The value of a header as its sender meant it; nothing when it is badly encoded. */
function decoded(value) {
  const inner = /^=\?base64\?(.*)\?=$/.exec(value ?? '');
  if (!inner) return value;
  const isWhole = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(inner[1]);
  return isWhole ? Buffer.from(inner[1], 'base64').toString() : undefined;
}

/** One request, as a fixture sees it. */
class Call {
  constructor(message, answer) {
    const params = message.params;
    this.name = params.name;
    this.args = params.arguments ?? {};
    this.meta = params._meta;
    this.capabilities = this.meta[CAPABILITIES];
    this.answer = answer;
    this.responses = params.inputResponses ?? {};
    for (const response of Object.values(this.responses)) {
      if (typeof response !== 'object' || response === null) throw new Fault(-32602, 'an input response is an object');
    }
    if (params.inputResponses === null) throw new Fault(-32602, '`inputResponses` is an object');
    this.state = params.requestState === undefined ? undefined : unseal(params.requestState, this.name);
  }

  log(level, data) {
    const least = this.meta[LEVEL];
    if (least && LEVELS.indexOf(level) >= LEVELS.indexOf(least))
      this.say('notifications/message', { level, logger: 'fixtures', data });
  }

  progress(progress, total) {
    const progressToken = this.meta.progressToken;
    if (progressToken !== undefined) this.say('notifications/progress', { progressToken, progress, total });
  }

  say(method, params) {
    this.answer.say({ jsonrpc: '2.0', method, params });
  }

  /** The answers where the client brought them; else this round ends with the questions. Sealed ones count only with our state. */
  ask(requests, isSealed = false) {
    const lacking = undeclared(requests, this.capabilities);
    if (Object.keys(lacking).length > 0) throw new Undeclared(lacking);
    const brought = isSealed && !this.state ? {} : this.responses;
    const given = { ...this.state?.given, ...brought };
    const open = Object.entries(requests).filter(([name]) => given[name] === undefined);
    if (open.length === 0) return given;
    throw new Questions(Object.fromEntries(open), isSealed, this.state || isSealed ? given : {});
  }

  /** Streams can't be resumed in this era. */
  hangUp() {}
}

export class Modern {
  constructor(versions) {
    this.versions = versions;
    this.listeners = new Map();
    this.offer = new Offer(notification => this.listeners.forEach((filter, answer) => this.tell(answer, filter, notification)));
    this.tasks = new Tasks(this.offer);
  }

  async take(message, req, res) {
    if (message.id === undefined) return res.writeHead(202).end();
    const answer = new Answer(res);
    const reply = (result, status) => answer.end({ jsonrpc: '2.0', id: message.id, ...result }, status);
    try {
      this.check(message, req.headers);
      if (message.method === 'subscriptions/listen') return this.listen(message, answer);
      const call = new Call(message, answer);
      const result = await this.result(message, call);
      const hints = CACHEABLE.includes(message.method) ? FRESH : {};
      reply({ result: { resultType: 'complete', ...hints, ...result, _meta: { ...result._meta, [SERVER]: this.offer.info } } });
    } catch (fault) {
      if (fault instanceof Questions) return reply({ result: this.asked(message, fault) });
      if (!(fault instanceof Fault)) throw fault;
      reply({ error: fault.error }, fault.status);
    }
  }

  /** The metadata, and the headers against the body. */
  check(message, headers) {
    const mismatch = what => new Fault(-32020, `Header mismatch: ${what}`, undefined, 400);
    if (headers['mcp-method'] !== message.method) throw mismatch('Mcp-Method');
    const source = NAMES[message.method];
    if (source && decoded(headers['mcp-name']) !== message.params?.[source]) throw mismatch('Mcp-Name');
    const meta = message.params?._meta ?? {};
    const [version, capabilities] = [meta[VERSION], meta[CAPABILITIES]];
    if (typeof version !== 'string') throw new Fault(-32602, `${VERSION} is missing`, undefined, 400);
    if (typeof capabilities !== 'object' || capabilities === null)
      throw new Fault(-32602, `${CAPABILITIES} is missing`, undefined, 400);
    if (headers['mcp-protocol-version'] !== version) throw mismatch('MCP-Protocol-Version');
    if (version !== this.versions[0])
      throw new Fault(-32022, 'Unsupported protocol version', { supported: this.versions, requested: version }, 400);
    if (message.method !== 'tools/call') return;
    for (const [name, property] of Object.entries(this.offer.tool(message.params.name).inputSchema.properties ?? {})) {
      const suffix = property['x-mcp-header'];
      const said = message.params.arguments?.[name];
      if (suffix && decoded(headers[`mcp-param-${suffix.toLowerCase()}`]) !== (said === undefined ? undefined : String(said)))
        throw mismatch(`Mcp-Param-${suffix}`);
    }
  }

  result(message, call) {
    const params = message.params;
    switch (message.method) {
      case 'server/discover':
        return { supportedVersions: this.versions, capabilities: this.capabilities() };
      case 'tools/call':
        return this.tasks.call(call);
      case 'prompts/get':
        return this.offer.prompt(call);
      case 'resources/read':
        return this.offer.read(params.uri, -32602);
      case 'tasks/get':
      case 'tasks/update':
      case 'tasks/cancel':
        return this.tasks.about(message.method, call, params);
      default:
        return this.offer.other(message.method, params);
    }
  }

  capabilities() {
    return {
      tools: { listChanged: true },
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      completions: {},
      logging: {},
      extensions: { [EXTENSION]: {} },
    };
  }

  asked(message, { requests, isSealed, given }) {
    const isCarried = isSealed || Object.keys(given).length > 0;
    const state = isCarried ? { requestState: seal({ name: message.params.name, given }) } : {};
    return { resultType: 'input_required', inputRequests: requests, ...state, _meta: { [SERVER]: this.offer.info } };
  }

  listen(message, answer) {
    const wanted = message.params.notifications;
    if (typeof wanted !== 'object' || wanted === null) throw new Fault(-32602, '`notifications` is missing', undefined, 400);
    this.listeners.set(answer, { id: message.id, wanted });
    answer.res.on('close', () => this.listeners.delete(answer));
    const params = { _meta: { [SUBSCRIPTION]: message.id }, notifications: wanted };
    answer.say({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params });
  }

  tell(answer, { id, wanted }, { method, params = {} }) {
    const isWanted =
      wanted[FILTERS[method]] ||
      (method === 'notifications/resources/updated' && wanted.resourceSubscriptions?.includes(params.uri));
    if (isWanted) answer.say({ jsonrpc: '2.0', method, params: { ...params, _meta: { [SUBSCRIPTION]: id } } });
  }
}
