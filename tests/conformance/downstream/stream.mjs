// The answer to one HTTP request: JSON when it is all there is to say, an event stream when something comes before it.

export class Answer {
  constructor(res, headers = {}) {
    this.res = res;
    this.headers = headers;
    this.streams = false;
  }

  get isOpen() {
    return !this.res.writableEnded && !this.res.destroyed;
  }

  stream() {
    if (this.streams) return;
    this.streams = true;
    this.res.writeHead(200, {
      ...this.headers,
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    });
    this.res.flushHeaders();
  }

  /** A message before the answer. */
  say(message) {
    this.stream();
    if (this.isOpen) this.res.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
  }

  /** Where a client that loses the stream goes on, and after how many milliseconds. */
  prime(id, retry) {
    this.stream();
    this.res.write(`id: ${id}\nretry: ${retry}\ndata: \n\n`);
  }

  /** The answer itself. */
  end(message, status = 200) {
    if (!this.isOpen) return;
    if (this.streams) {
      this.say(message);
      this.res.end();
      return;
    }
    this.res.writeHead(status, { ...this.headers, 'content-type': 'application/json' });
    this.res.end(JSON.stringify(message));
  }
}
