// Stands in for `prefix = "never"` with a gateway that does not know it: the suite calls bare names, the gateway `CONNECTOR__NAME`.
// Goes, with the one place that starts it, once every gateway under test knows that key.
// node rename.mjs PORT TARGET_PORT PREFIX
import http from 'node:http';

const [port, target, prefix] = process.argv.slice(2);

/** The request with the gateway's name in it. */
function outward(body, headers) {
  let message;
  try {
    message = JSON.parse(body);
  } catch {
    return { body, headers };
  }
  if (message?.method !== 'tools/call' || typeof message.params?.name !== 'string') return { body, headers };
  message.params.name = prefix + message.params.name;
  const named = headers.map((value, at) => (at % 2 === 1 && /^mcp-name$/i.test(headers[at - 1]) ? prefix + value : value));
  return { body: Buffer.from(JSON.stringify(message)), headers: named };
}

/** A list of tools with the names that the suite knows. */
function inward(body) {
  const message = JSON.parse(body);
  for (const tool of message?.result?.tools ?? []) tool.name = tool.name.replace(prefix, '');
  return Buffer.from(JSON.stringify(message));
}

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

const without = headers => headers.filter((_, at) => !/^(content-length|transfer-encoding)$/i.test(headers[at - (at % 2)]));

http
  .createServer(async (req, res) => {
    const { body, headers } = outward(await all(req), req.rawHeaders);
    const sent = [...without(headers), ...(body.length > 0 ? ['content-length', String(body.length)] : [])];
    const gateway = http.request({
      port: target,
      host: '127.0.0.1',
      method: req.method,
      path: req.url,
      headers: sent,
      setHost: false,
      agent: false,
    });
    gateway.on('error', () => res.destroy());
    res.on('close', () => gateway.destroy());
    gateway.on('response', async answer => {
      if (!answer.headers['content-type']?.includes('application/json')) {
        res.writeHead(answer.statusCode, answer.rawHeaders);
        res.flushHeaders();
        answer.on('error', () => res.destroy());
        answer.pipe(res);
        return;
      }
      const told = inward(await all(answer));
      res.writeHead(answer.statusCode, [...without(answer.rawHeaders), 'content-length', String(told.length)]);
      res.end(told);
    });
    gateway.end(body);
  })
  .listen(Number(port), '127.0.0.1', () => process.stdout.write(`${port}\n`));
