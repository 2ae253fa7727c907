// The tools that the suite calls. `run` gets the call, and can log, report progress and ask in whichever era it came; `task` says that the
// tool can (or must) be a task where the client knows them, and `first` what is asked before it becomes one.
import { setTimeout as wait } from 'node:timers/promises';
import { Fault, Undeclared, undeclared } from './faults.mjs';
import { SILENCE, form, image, text } from './matter.mjs';

const says = said => ({ content: [text(said)] });
const fails = said => ({ content: [text(said)], isError: true });
const repeats = what => says(JSON.stringify(what));
const object = (properties = {}, required = []) => ({ type: 'object', properties, ...(required.length > 0 ? { required } : {}) });
const string = { type: 'string' };

const tool = (name, description, run, inputSchema = object(), more = {}) => ({ name, description, inputSchema, run, ...more });

const sampling = (said, maxTokens) => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: text(said) }], maxTokens },
});
const NAME = { user_name: form('What is your name?', { name: string }) };
const ROOTS = { client_roots: { method: 'roots/list', params: {} } };

/** A tool that asks these questions once, and repeats the answers. */
const asks = (name, description, requests, { isSealed = false } = {}) =>
  tool(name, description, async call => repeats(await call.ask(requests, isSealed)));

const options = (...names) => names.map(([value, title]) => ({ const: value, title }));
const ENUMS = {
  untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
  titledSingle: {
    type: 'string',
    oneOf: options(['value1', 'First Option'], ['value2', 'Second Option'], ['value3', 'Third Option']),
  },
  legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] },
  untitledMulti: { type: 'array', items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
  titledMulti: {
    type: 'array',
    items: { anyOf: options(['value1', 'First Choice'], ['value2', 'Second Choice'], ['value3', 'Third Choice']) },
  },
};
const DEFAULTS = {
  name: { type: 'string', default: 'John Doe' },
  age: { type: 'integer', default: 30 },
  score: { type: 'number', default: 95.5 },
  status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
  verified: { type: 'boolean', default: true },
};
const DIALECT = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: { address: { $anchor: 'addressDef', type: 'object', properties: { street: string, city: string } } },
  properties: {
    name: string,
    address: { $ref: '#/$defs/address' },
    contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: string,
    email: string,
  },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
};

const embedded = (uri, mimeType, said) => ({ type: 'resource', resource: { uri, mimeType, text: said } });

const CONTENT = [
  // Lists are sorted on the way: this one is the first, which the suite calls with no arguments to try headers.
  tool('a_plain_tool', 'Does nothing', () => says('nothing was done')),
  tool('test_simple_text', 'Says one sentence', () => says('This is a simple text response for testing.')),
  tool('test_image_content', 'Shows an image', () => ({ content: [image] })),
  tool('test_audio_content', 'Plays nothing', () => ({ content: [{ type: 'audio', data: SILENCE, mimeType: 'audio/wav' }] })),
  tool('test_embedded_resource', 'Embeds a resource', () => ({
    content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')],
  })),
  tool('test_multiple_content_types', 'Shows content of three kinds', () => ({
    content: [
      text('Multiple content types test:'),
      image,
      embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
    ],
  })),
  tool('test_error_handling', 'Always fails', () => fails('This tool intentionally returns an error for testing')),
  tool('json_schema_2020_12_tool', 'Has a schema of many keywords', ({ args }) => repeats(args), DIALECT),
  tool('test_x_mcp_header', 'Has an argument that is mirrored into a header', ({ args }) => says(`region: ${args.region}`), {
    ...object({ region: { type: 'string', 'x-mcp-header': 'Region' } }),
  }),
];

const SPEAKING = [
  tool('test_tool_with_logging', 'Logs while it works', async call => {
    for (const said of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      call.log('info', said);
      await wait(50);
    }
    return says('logged three times');
  }),
  tool('test_logging_tool', 'Logs once', call => {
    call.log('info', 'something to say');
    return says('logged, if anybody asked for it');
  }),
  tool('test_tool_with_progress', 'Reports how far it is', async call => {
    for (const done of [0, 50, 100]) {
      call.progress(done, 100);
      await wait(50);
    }
    return says('done');
  }),
  tool('test_reconnection', 'Closes its stream before it answers', async call => {
    call.hangUp();
    await wait(100);
    return says('answered after the stream was closed');
  }),
  tool('test_trigger_tool_change', 'Changes the list of tools', call => {
    call.toggle('test_tool_that_comes_and_goes', 'tools');
    return says('the list of tools changed');
  }),
  tool('test_tool_that_comes_and_goes', 'Leaves the list, and returns to it', () => says('I am here now.')),
  tool('test_trigger_prompt_change', 'Changes the list of prompts', call => {
    call.toggle('test_prompt_that_comes_and_goes', 'prompts');
    return says('the list of prompts changed');
  }),
];

const ASKING = [
  tool(
    'test_sampling',
    "Asks the client's model",
    async call => {
      const { response } = await call.ask({ response: sampling(call.args.prompt, 100) });
      return says(`LLM response: ${response.content?.text}`);
    },
    object({ prompt: string }, ['prompt']),
  ),
  tool(
    'test_elicitation',
    'Asks the person',
    async call => {
      const fields = {
        username: { type: 'string', description: "User's response" },
        email: { type: 'string', description: "User's email address" },
      };
      const { response } = await call.ask({ response: form(call.args.message, fields) });
      return says(`User response: ${JSON.stringify(response)}`);
    },
    object({ message: string }, ['message']),
  ),
  asks('test_elicitation_sep1034_defaults', 'Asks with defaults', {
    response: form('Please review and update the form', DEFAULTS, []),
  }),
  asks('test_elicitation_sep1330_enums', 'Asks with choices of every kind', { response: form('Please choose', ENUMS, []) }),
  asks('test_streaming_elicitation', 'Asks on a stream', { response: form('Please confirm', { ok: { type: 'boolean' } }) }),
  asks('test_missing_capability', "Needs the client's model", { response: sampling('Say something', 10) }),
  asks('test_input_required_result_elicitation', 'Asks for a name', NAME),
  asks('test_input_required_result_sampling', 'Asks for a capital', {
    capital_question: sampling('What is the capital of France?', 100),
  }),
  asks('test_input_required_result_list_roots', 'Asks for the roots', ROOTS),
  asks(
    'test_input_required_result_request_state',
    'Asks, and has its state carried',
    { confirm: form('Please confirm', { ok: { type: 'boolean' } }) },
    { isSealed: true },
  ),
  asks(
    'test_input_required_result_tampered_state',
    'Asks, and refuses a state that was changed',
    { confirm: form('Please confirm', { ok: { type: 'boolean' } }) },
    { isSealed: true },
  ),
  asks(
    'test_input_required_result_multiple_inputs',
    'Asks three things at once',
    { ...NAME, greeting: sampling('Generate a greeting', 50), ...ROOTS },
    { isSealed: true },
  ),
  tool('test_input_required_result_multi_round', 'Asks twice', async call => {
    const first = await call.ask({ step1: form('Step 1: What is your name?', { name: string }) }, true);
    const second = await call.ask({ step2: form('Step 2: What is your favorite color?', { color: string }) }, true);
    return repeats({ ...first, ...second });
  }),
  tool('test_input_required_result_capabilities', 'Asks only what the client can answer', async call => {
    const requests = { ...NAME, greeting: sampling('Generate a greeting', 50), ...ROOTS };
    const can = Object.entries(requests).filter(
      ([, request]) => Object.keys(undeclared({ request }, call.capabilities)).length === 0,
    );
    if (can.length === 0) throw new Undeclared({ elicitation: {} });
    return repeats(await call.ask(Object.fromEntries(can)));
  }),
];

const DELETE = name => form(name, { confirm: { type: 'boolean' } });

const WORKING = [
  tool('greet', 'Greets', ({ args }) => says(`Hello, ${args.name ?? 'stranger'}!`), object({ name: string })),
  tool(
    'slow_compute',
    'Takes its time',
    async call => {
      await wait((call.args.seconds ?? 0) * 1000, undefined, { signal: call.stopped, ref: false }).catch(() => {});
      return says(`computed ${call.args.label ?? 'something'}`);
    },
    object({ seconds: { type: 'number' }, label: string }),
    { task: 'optional' },
  ),
  tool(
    'failing_job',
    'Always fails, after a while',
    async () => {
      await wait(300);
      return fails('the job failed');
    },
    object(),
    { task: 'required' },
  ),
  tool(
    'protocol_error_job',
    'Breaks',
    async () => {
      await wait(50);
      throw new Fault(-32603, 'the job broke');
    },
    object(),
    { task: 'required' },
  ),
  tool(
    'confirm_delete',
    'Asks before it would delete',
    async call => repeats(await call.ask({ confirm: DELETE(`Delete ${call.args.filename}?`) })),
    object({ filename: string }),
    { task: 'optional' },
  ),
  tool(
    'multi_input',
    'Asks two things at once',
    async call => repeats(await call.ask({ first: DELETE('The first?'), second: DELETE('The second?') })),
    object(),
    {
      task: 'optional',
    },
  ),
  tool(
    'test_tool_with_task',
    'Asks, and then is a task',
    (call, { user_name: answer }) => says(`Hello, ${answer.content?.name}!`),
    object(),
    {
      task: 'required',
      first: call => call.ask(NAME),
    },
  ),
];

export const TOOLS = [...CONTENT, ...SPEAKING, ...ASKING, ...WORKING];
