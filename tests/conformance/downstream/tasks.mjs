// The extension of 2026-07-28 for tasks: a tool that answers later, and asks while it works.
import { randomUUID } from 'node:crypto';
import { Fault, Undeclared } from './faults.mjs';

export const EXTENSION = 'io.modelcontextprotocol/tasks';
const NEEDED = { extensions: { [EXTENSION]: {} } };
const TERMINAL = ['completed', 'failed', 'cancelled'];

/** A task, and to its tool the call that it runs in. */
class Task {
  constructor(call) {
    this.id = randomUUID();
    this.name = call.name;
    this.args = call.args;
    this.capabilities = call.capabilities;
    this.status = 'working';
    this.createdAt = new Date().toISOString();
    this.lastUpdatedAt = this.createdAt;
    this.open = {};
    this.given = {};
    this.stop = new AbortController();
  }

  get isOver() {
    return TERMINAL.includes(this.status);
  }

  get stopped() {
    return this.stop.signal;
  }

  progress() {}
  log() {}
  hangUp() {}

  turn(status, more = {}) {
    if (this.isOver) return;
    Object.assign(this, more, { status, lastUpdatedAt: new Date().toISOString() });
  }

  /** Parks the task until all is answered. */
  ask(requests) {
    return new Promise(resolve => {
      this.resume = resolve;
      this.turn('input_required', { open: requests });
    });
  }

  answer(responses) {
    for (const [key, response] of Object.entries(responses)) {
      if (this.open[key] === undefined) continue;
      this.given[key] = response;
      delete this.open[key];
    }
    if (this.status !== 'input_required' || Object.keys(this.open).length > 0) return;
    this.turn('working');
    this.resume(this.given);
  }

  /** As it is first told of. */
  brief() {
    const { id: taskId, status, createdAt, lastUpdatedAt } = this;
    return { taskId, status, createdAt, lastUpdatedAt, ttlMs: 60000, pollIntervalMs: 100 };
  }

  /** With what there is to see of it now. */
  detailed() {
    const shown = {
      completed: { result: this.result },
      failed: { error: this.error },
      input_required: { inputRequests: this.open },
    };
    return { ...this.brief(), ...shown[this.status] };
  }
}

export class Tasks {
  constructor(offer) {
    this.offer = offer;
    this.tasks = new Map();
  }

  /** Calls a tool, as a task where it is one and the client knows them. */
  async call(call) {
    const tool = this.offer.tool(call.name);
    const knows = call.capabilities.extensions?.[EXTENSION] !== undefined;
    if (tool.task === 'required' && !knows) throw new Undeclared(NEEDED);
    if (!tool.task || !knows) return this.offer.call(call);
    const first = await tool.first?.(call);
    const task = new Task(call);
    this.tasks.set(task.id, task);
    this.run(tool, task, first);
    return { resultType: 'task', ...task.brief() };
  }

  async run(tool, task, first) {
    try {
      const result = await tool.run(task, first);
      task.turn('completed', { result });
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      task.turn('failed', { error: fault.error });
    }
  }

  about(method, call, { taskId, inputResponses }) {
    if (call.capabilities.extensions?.[EXTENSION] === undefined) throw new Undeclared(NEEDED);
    const task = this.tasks.get(taskId);
    if (!task) throw new Fault(-32602, `there is no task ${taskId}`);
    if (method === 'tasks/get') return task.detailed();
    if (method === 'tasks/update') task.answer(inputResponses ?? {});
    if (method === 'tasks/cancel' && !task.isOver) {
      task.turn('cancelled');
      task.stop.abort();
    }
    return {};
  }
}
