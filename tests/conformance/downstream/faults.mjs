// What a request can end in other than a result.

/** A JSON-RPC error. Over HTTP it has a status of its own where the specification gives it one. */
export class Fault extends Error {
  constructor(code, message, data, status = 200) {
    super(message);
    this.code = code;
    this.data = data;
    this.status = status;
  }

  get error() {
    return { code: this.code, message: this.message, ...(this.data === undefined ? {} : { data: this.data }) };
  }
}

/** The client did not declare what is needed to serve this request. */
export class Undeclared extends Fault {
  constructor(capabilities) {
    super(-32021, 'a capability is needed that the client did not declare', { requiredCapabilities: capabilities }, 400);
  }
}

/** The older era: the client can't be asked, or did not want to be. */
export class Unasked extends Fault {
  constructor(message) {
    super(-32600, message);
  }
}

/** Questions that have to be answered first; `given` are the answers there are. */
export class Questions extends Error {
  constructor(requests, isSealed, given) {
    super('input is required');
    this.requests = requests;
    this.isSealed = isSealed;
    this.given = given;
  }
}

/** The capability that a client declares who answers this question. */
export const CAPABILITIES = { 'elicitation/create': 'elicitation', 'sampling/createMessage': 'sampling', 'roots/list': 'roots' };

/** The capabilities that these questions need and this client did not declare. */
export function undeclared(requests, capabilities) {
  const needed = Object.values(requests).map(request => CAPABILITIES[request.method]);
  return Object.fromEntries(needed.filter(name => capabilities[name] === undefined).map(name => [name, {}]));
}
