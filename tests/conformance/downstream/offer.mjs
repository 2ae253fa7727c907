// What the server offers, in both eras alike: its lists, and what becomes of a call.
import { Fault } from './faults.mjs';
import { PROMPTS, RESOURCES, TEMPLATES, TEMPLATE_URI, templated } from './matter.mjs';
import { TOOLS } from './tools.mjs';

export const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];

/** What the protocol shows of a fixture: not how it works. */
const shown = ({ run, first, task, render, content, ...definition }) => definition;

export class Offer {
  /** `announce` carries a notification to whoever listens. */
  constructor(announce) {
    this.announce = announce;
    this.info = { name: 'conformance-fixtures', version: '1.0.0' };
    this.hidden = new Set();
  }

  tool(name) {
    const tool = TOOLS.find(one => one.name === name && !this.hidden.has(name));
    if (!tool) throw new Fault(-32602, `Unknown tool: ${name}`);
    return tool;
  }

  async call(call) {
    const tool = this.tool(call.name);
    call.toggle = (name, what) => this.toggle(name, what);
    return tool.run(call, await tool.first?.(call));
  }

  /** Takes something out of its list, or puts it back, and says that the list changed. */
  toggle(name, what) {
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.announce({ method: `notifications/${what}/list_changed` });
  }

  async prompt(call) {
    const prompt = PROMPTS.find(one => one.name === call.name && !this.hidden.has(call.name));
    if (!prompt) throw new Fault(-32602, `Unknown prompt: ${call.name}`);
    return { messages: await prompt.render(call) };
  }

  read(uri, missing) {
    const resource = RESOURCES.find(one => one.uri === uri);
    if (resource) return { contents: [{ uri, mimeType: resource.mimeType, ...resource.content }] };
    const id = TEMPLATE_URI.exec(uri)?.[1];
    if (id) return { contents: [templated(uri, id)] };
    throw new Fault(missing, 'Resource not found', { uri });
  }

  /** What needs nothing but the request. */
  other(method, params) {
    const isThere = one => !this.hidden.has(one.name);
    switch (method) {
      case 'tools/list':
        return { tools: TOOLS.filter(isThere).map(shown) };
      case 'prompts/list':
        return { prompts: PROMPTS.filter(isThere).map(shown) };
      case 'resources/list':
        return { resources: RESOURCES.map(shown) };
      case 'resources/templates/list':
        return { resourceTemplates: TEMPLATES };
      case 'completion/complete': {
        const values = ['test', 'testing', 'tested'].filter(value => value.startsWith(params.argument?.value ?? ''));
        return { completion: { values, total: values.length, hasMore: false } };
      }
      default:
        throw new Fault(-32601, `Method not found: ${method}`, undefined, 404);
    }
  }
}
