// The server behind the gateway: MCP over HTTP with every fixture that the conformance suite calls, in raw JSON-RPC, so that each era's
// wire is exactly what is written here. `node server.mjs dual|legacy|modern` prints its port; the era is what it lets a client speak.
import http from 'node:http';
import { Legacy } from './legacy.mjs';
import { Modern } from './modern.mjs';

const LEGACY = '2025-11-25';
const MODERN = '2026-07-28';
const LARGEST = 4 * 1024 * 1024;
const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

const speaks = process.argv[2] ?? 'dual';
if (!['dual', 'legacy', 'modern'].includes(speaks)) throw new Error(`an era is dual, legacy or modern, not ${speaks}`);
const legacy = new Legacy(LEGACY);
const modern = new Modern(speaks === 'dual' ? [MODERN, LEGACY] : [MODERN]);

/** A JSON-RPC error as the whole answer. */
export function refuse(res, status, id, code, message, data) {
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify({ jsonrpc: '2.0', id: id ?? null, error: { code, message, data } }));
}

async function read(req) {
  const parts = [];
  let size = 0;
  for await (const part of req) {
    size += part.length;
    if (size > LARGEST) throw new Error('too large');
    parts.push(part);
  }
  return JSON.parse(Buffer.concat(parts).toString());
}

/** How a message says which era it is of: by its metadata, its method, or the header of its request. */
function isModern(message, headers) {
  const said = message.params?._meta?.['io.modelcontextprotocol/protocolVersion'];
  return typeof said === 'string' || message.method === 'server/discover' || (headers['mcp-protocol-version'] ?? '') >= MODERN;
}

async function serve(req, res) {
  const origin = req.headers.origin;
  if (!LOOPBACK.test(req.headers.host ?? '') || (origin !== undefined && !LOOPBACK.test(origin.replace(/^https?:\/\//, '')))) {
    return refuse(res, 403, null, -32600, 'this server is for this machine only');
  }
  if (req.method !== 'POST') {
    // Only the older era has anything but POST.
    if (speaks === 'modern') return res.writeHead(405, { allow: 'POST' }).end();
    return legacy.other(req, res);
  }
  let message;
  try {
    message = await read(req);
  } catch {
    return refuse(res, 400, null, -32700, 'not one JSON message');
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message))
    return refuse(res, 400, null, -32600, 'not one message');
  if (isModern(message, req.headers)) {
    // What a server of the older era says to a request that it can't know.
    if (speaks === 'legacy') return refuse(res, 400, null, -32000, 'Bad Request: Server not initialized');
    return modern.take(message, req, res);
  }
  if (speaks === 'modern') {
    if (message.method !== 'initialize') return refuse(res, 400, message.id, -32602, 'the metadata of the request is missing');
    const data = { supported: [MODERN], requested: message.params?.protocolVersion };
    return refuse(res, 400, message.id, -32022, 'Unsupported protocol version', data);
  }
  return legacy.take(message, req, res);
}

const server = http.createServer((req, res) => {
  serve(req, res).catch(fault => {
    process.stderr.write(`${fault.stack}\n`);
    if (!res.headersSent) refuse(res, 500, null, -32603, String(fault));
    else res.destroy();
  });
});
server.requestTimeout = 0;
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
