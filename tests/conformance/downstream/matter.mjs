// The prompts and resources that the suite asks for, and the pieces of content that tools and prompts share.

export const text = said => ({ type: 'text', text: said });
/** One red pixel. */
export const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC';
/** A wave file without a sample. */
export const SILENCE = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=';
export const image = { type: 'image', data: PIXEL, mimeType: 'image/png' };

/** A question to a person, with the fields that the answer has. */
export const form = (message, properties, required = Object.keys(properties)) => ({
  method: 'elicitation/create',
  params: { message, requestedSchema: { type: 'object', properties, required } },
});

const user = content => ({ role: 'user', content });

export const PROMPTS = [
  {
    name: 'test_simple_prompt',
    description: 'Says one sentence',
    render: () => [user(text('This is a simple prompt for testing.'))],
  },
  {
    name: 'test_prompt_with_arguments',
    description: 'Repeats its arguments',
    arguments: ['arg1', 'arg2'].map(name => ({ name, description: `The argument ${name}`, required: true })),
    render: ({ args }) => [user(text(`Prompt with arguments: arg1='${args.arg1}', arg2='${args.arg2}'`))],
  },
  {
    name: 'test_prompt_with_embedded_resource',
    description: 'Embeds a resource',
    arguments: [{ name: 'resourceUri', description: 'The resource to embed', required: true }],
    render: ({ args }) => [
      user({
        type: 'resource',
        resource: { uri: args.resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
      }),
      user(text('Please process the embedded resource above.')),
    ],
  },
  {
    name: 'test_prompt_with_image',
    description: 'Shows an image',
    render: () => [user(image), user(text('Please analyze the image above.'))],
  },
  {
    name: 'test_input_required_result_prompt',
    description: 'Asks for its context first',
    render: async call => {
      const { user_context: answer } = await call.ask({
        user_context: form('What context should the prompt use?', { context: { type: 'string' } }),
      });
      return [user(text(`Use this context: ${answer.content?.context}`))];
    },
  },
  {
    name: 'test_prompt_that_comes_and_goes',
    description: 'Leaves the list, and returns to it, whenever `test_trigger_prompt_change` is called',
    render: () => [user(text('I am here now.'))],
  },
];

export const RESOURCES = [
  {
    uri: 'test://static-text',
    name: 'static-text',
    description: 'Text that stays',
    mimeType: 'text/plain',
    content: { text: 'This is the content of the static text resource.' },
  },
  {
    uri: 'test://static-binary',
    name: 'static-binary',
    description: 'An image that stays',
    mimeType: 'image/png',
    content: { blob: PIXEL },
  },
  {
    uri: 'test://watched-resource',
    name: 'watched-resource',
    description: 'One to subscribe to',
    mimeType: 'text/plain',
    content: { text: 'Watch this.' },
  },
];

export const TEMPLATES = [
  {
    uriTemplate: 'test://template/{id}/data',
    name: 'template-data',
    description: 'Data by their id',
    mimeType: 'application/json',
  },
];
export const TEMPLATE_URI = /^test:\/\/template\/([^/]+)\/data$/;

/** What the template holds at a URI. */
export const templated = (uri, id) => ({
  uri,
  mimeType: 'application/json',
  text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
});
