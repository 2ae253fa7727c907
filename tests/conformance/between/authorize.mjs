// Between the suite, which has no token, and the gateway, which wants one: adds an `Authorization` header to each request, and changes
// nothing else. It works on bytes, because the suite also tries what a parser would tidy up, such as blanks around a value.
// TOKEN=… node authorize.mjs PORT TARGET_PORT
import net from 'node:net';

const [port, target] = process.argv.slice(2).map(Number);
const line = Buffer.from(`Authorization: Bearer ${process.env.TOKEN}\r\n`);
const END = Buffer.from('\r\n\r\n');

/** Cuts a connection into requests, and hands on each with one header more. */
class Requests {
  constructor(send) {
    this.send = send;
    this.head = Buffer.alloc(0);
    this.body = 0;
  }

  take(bytes) {
    while (bytes.length > 0) {
      if (this.body > 0) {
        const part = bytes.subarray(0, this.body);
        this.send(part);
        this.body -= part.length;
        bytes = bytes.subarray(part.length);
        continue;
      }
      this.head = Buffer.concat([this.head, bytes]);
      const end = this.head.indexOf(END);
      if (end < 0) return;
      bytes = this.head.subarray(end + END.length);
      this.begin(this.head.subarray(0, end + END.length));
      this.head = Buffer.alloc(0);
    }
  }

  begin(head) {
    const said = head.toString('latin1');
    if (/^transfer-encoding:/im.test(said)) throw new Error('the suite sends lengths: this is something else');
    this.body = Number(/^content-length:[ \t]*(\d+)/im.exec(said)?.[1] ?? 0);
    const first = head.indexOf('\r\n') + 2;
    this.send(Buffer.concat([head.subarray(0, first), line, head.subarray(first)]));
  }
}

net
  .createServer(client => {
    const gateway = net.connect(target, '127.0.0.1');
    const requests = new Requests(bytes => gateway.write(bytes));
    for (const end of [client, gateway]) {
      end.setNoDelay(true);
      end.on('error', () => {});
    }
    client.on('data', bytes => requests.take(bytes));
    gateway.on('data', bytes => client.write(bytes));
    client.on('close', () => gateway.destroy());
    gateway.on('close', () => client.destroy());
  })
  .listen(port, '127.0.0.1', () => process.stdout.write(`${port}\n`));
