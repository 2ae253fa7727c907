// Several people, each with a browser, a link and a passkey of their own, where a call takes two of them.
import { Gateway, Person, TICKETS, each, is, until } from './harness.mjs';

const CONFIG = `
[approvals]
hold = "5m"
approve_by = "9m"
max_denied_in_row = 100
[policy]
files = ["two.cedar"]
[[agents]]
id = "demo"
owner = "ops@example.com"
ceiling = "critical"
${TICKETS}
tools.merge = { kind = "write", band = "critical" }
[[grants]]
id = "triage"
agent = "demo"
purpose = "triage the support inbox"
tools = ["tickets__refund", "tickets__merge"]
default = true
ttl = "8h"
[[people]]
id = "ada"
roles = ["viewer", "approver"]
[[people]]
id = "bob"
roles = ["viewer", "approver"]
[[people]]
id = "olga"
owns = ["ops@example.com"]
roles = ["viewer", "approver"]
[[people]]
id = "vic"
roles = ["viewer"]
`;
const POLICY = `@id("refunds-need-two") @approval("two") @confirm("two-person") @quorum("2") @reason("money leaves the house")
forbid (principal, action == Bailiwick::Action::"tickets__refund", resource)
unless { context.call.approvals.contains("two") };
`;

const arrive = (browser, gateway, ...names) => Promise.all(names.map((person) => Person.arrive(browser, gateway, { person })));
const leave = async (...people) => { for (const person of people) await person.leave(); };
// The one question that is open, once the agent waits for it.
const question = (gateway) => until('the question', async () => gateway.approvals().find((one) => one.state === 'pending'));
const standing = (gateway, { id }) => gateway.approvals().find((one) => one.id === id);
const hears = async (person, words, where = 'main') => until(`"${words}" for ${person.name}`, async () => (await person.page.textContent(where).catch(() => '')).includes(words));
// Says yes by keyboard, with a passkey.
const approve = async (person) => { await person.pressed('a', 'Enter'); };

const cases = {
  async 'two passkeys of two people let a call go, once'(browser, gateway) {
    const [ada, bob] = await arrive(browser, gateway, 'ada', 'bob');
    const agent = gateway.refund(4900);
    const asked = await question(gateway);
    const path = `/approvals/${asked.id}`;
    await ada.open(path);
    await hears(ada, '0 of 2 persons have approved', '#decision');
    // A second tab of hers that hears nothing more still has the buttons.
    const late = await ada.context.newPage();
    ada.listen(late);
    await ada.authenticator(late);
    await late.addInitScript(() => { window.EventSource = class { addEventListener() {} }; });
    await ada.open(path, late);
    await approve(ada);
    await hears(ada, 'Somebody else must, too', '#decision');
    await ada.picture('two-first');
    is(await ada.page.locator('#decision form').count() === 0, 'who has approved is asked again');
    is(standing(gateway, asked).state === 'pending' && agent.waits(), 'one yes was enough');
    await late.keyboard.press('a');
    await late.keyboard.press('Enter');
    await until('a refusal', async () => /nothing was decided|already/i.test(await late.textContent('body')));
    await ada.picture('two-same-again', late);
    is(standing(gateway, asked).state === 'pending' && agent.waits(), 'two of one person were enough');
    await bob.open('/');
    await hears(bob, '1 of 2 have approved');
    await bob.picture('two-inbox');
    await bob.open(path);
    await hears(bob, '1 of 2 persons have approved', '#decision');
    await bob.picture('two-second');
    await approve(bob);
    const { code, said } = await agent;
    is(code === 0 && said.includes('"amount_cents":4900'), `the agent heard: ${said}`);
    await bob.open(path);
    await hears(bob, 'it ran', '#standing');
    const around = await bob.page.textContent('#around');
    is(around.includes('ada') && around.includes('bob') && around.match(/\(passkey\)/g)?.length === 2, `what was said: ${around}`);
    await bob.picture('two-ran');
    // Once: the same call asks both anew.
    const again = gateway.refund(4900);
    const anew = await question(gateway);
    is(anew.id !== asked.id && again.waits(), 'an approval was good twice');
    gateway.cli('approvals', 'deny', anew.id, '--reason', 'only asked');
    is((await again).code !== 0, 'what was denied ran');
    // Her late tab was refused with a 409, or the like; else nothing is wrong.
    ada.faults = ada.faults.filter((fault) => !/status of 4\d\d/.test(fault));
    await leave(ada, bob);
  },

  async 'nobody approves what they own'(browser, gateway) {
    const [olga] = await arrive(browser, gateway, 'olga');
    const agent = gateway.refund(5100);
    const asked = await question(gateway);
    await olga.open(`/approvals/${asked.id}`);
    await olga.picture('owner-before');
    if (await olga.page.locator('button.approve').count()) await approve(olga);
    await until('a refusal', async () => /owns the grant or its agent/.test(await olga.page.textContent('body')));
    await olga.picture('owner-refused');
    is(standing(gateway, asked).state === 'pending' && agent.waits(), 'the owner let it go');
    // A no of hers is as good as anybody's.
    await olga.open(`/approvals/${asked.id}`);
    await olga.pressed('d');
    await olga.page.keyboard.type('mine, and wrong');
    await olga.pressed('Tab', 'Tab', 'Enter');
    const { code, said } = await agent;
    is(code !== 0 && said.includes('mine, and wrong'), `the agent heard: ${said}`);
    olga.faults = olga.faults.filter((fault) => !/status of 403/.test(fault));
    await leave(olga);
  },

  async 'a no of one of them ends it'(browser, gateway) {
    const [ada, bob] = await arrive(browser, gateway, 'ada', 'bob');
    const agent = gateway.refund(5200);
    const asked = await question(gateway);
    await ada.open(`/approvals/${asked.id}`);
    await approve(ada);
    await hears(ada, 'Somebody else must, too', '#decision');
    await bob.open(`/approvals/${asked.id}`);
    await bob.pressed('d');
    await bob.page.keyboard.type('the customer was paid last week');
    await bob.pressed('Tab', 'Tab', 'Enter');
    const { code, said } = await agent;
    is(code !== 0 && said.includes('the customer was paid last week'), `the agent heard: ${said}`);
    is(standing(gateway, asked).state === 'denied', `it is ${standing(gateway, asked).state}`);
    await hears(ada, 'Denied by bob', '#standing');
    is(await ada.page.locator('#decision form').count() === 0, 'there is still something to press');
    await ada.picture('two-denied');
    await leave(ada, bob);
  },

  async 'who may only look has nothing to press, and a form sent by hand is refused'(browser, gateway) {
    const [vic, ada] = await arrive(browser, gateway, 'vic', 'ada');
    const agent = gateway.refund(5300);
    const asked = await question(gateway);
    const path = `/approvals/${asked.id}`;
    await vic.open(path);
    await vic.picture('viewer');
    await hears(vic, 'To decide takes the role `approver`', '#decision');
    is(await vic.page.locator('main form, main button').count() === 0, 'a viewer has something to press');
    const own = await (async () => { await vic.open('/passkeys'); return vic.page.locator('input[name="token"]').first().inputValue(); })();
    await ada.open(path);
    const form = await ada.page.locator('form:has(input[value="approve"])').first().evaluate((one) => Object.fromEntries(new FormData(one)));
    for (const [whose, token] of [['a form of his own', own], ['her form', form.token]]) {
      const headers = { origin: vic.origin, 'sec-fetch-site': 'same-origin' };
      const answer = await vic.context.request.post(`${vic.origin}${path}/decision`, { headers, form: { ...form, token, operator: gateway.credential() } });
      is(answer.status() === 403, `with the token of ${whose} he got ${answer.status()}`);
    }
    // By what the page's script would ask first, too.
    const asks = await vic.context.request.post(`${vic.origin}/sign`, { headers: { origin: vic.origin, 'sec-fetch-site': 'same-origin' }, form: { ...form, to: `${path}/decision` } });
    is(asks.status() >= 400, 'he is given something to sign');
    is(standing(gateway, asked).state === 'pending' && standing(gateway, asked).decisions.length === 0 && agent.waits(), 'a viewer decided');
    gateway.cli('approvals', 'deny', asked.id, '--reason', 'only looked at');
    await agent;
    await leave(vic, ada);
  },

  async 'a critical call wants its code typed, by both'(browser, gateway) {
    const [ada, bob] = await arrive(browser, gateway, 'ada', 'bob');
    const agent = gateway.call('tickets__merge', 'id=T-18', 'into=T-17');
    const asked = await question(gateway);
    const path = `/approvals/${asked.id}`;
    await ada.open(path);
    await ada.picture('critical');
    await ada.pressed('a');
    is((await ada.focused()) === 'code', `a went to ${await ada.focused()}`);
    await ada.page.keyboard.type(asked.code === 'A1-11' ? 'A2-22' : 'A1-11');
    await ada.pressed('Enter');
    await hears(ada, 'that is not the code of this call', 'body');
    is(standing(gateway, asked).decisions.length === 0, 'a wrong code was a yes');
    ada.faults = ada.faults.filter((fault) => !/status of 400/.test(fault));
    for (const person of [ada, bob]) {
      await person.open(path);
      await person.pressed('a');
      await person.page.keyboard.type(asked.code);
      await person.pressed('Enter');
      await until(`the yes of ${person.name}`, async () => standing(gateway, asked).decisions.some((said) => said.approver?.name === person.name || said.by === person.name));
    }
    const { code, said } = await agent;
    is(code === 0, `the agent heard: ${said}`);
    await leave(ada, bob);
  },
};

process.exit(await each(cases, await Gateway.start({}, { 'config.toml': CONFIG, 'two.cedar': POLICY })));
