// Several people, each with a browser, a link and a passkey of their own, where a call takes two of them.
import { execFileSync } from 'node:child_process';
import { Gateway, Person, TICKETS, each, grave, is, until } from './harness.mjs';

const CONFIG = `
[approvals]
hold = "5m"
approve_by = "9m"
max_denied_in_row = 100
break_glass = { group = "GROUP" }
[policy]
files = ["two.cedar"]
[[agents]]
id = "demo"
owner = "ops@example.com"
ceiling = "critical"
${TICKETS}
tools.merge = { kind = "write", band = "critical" }
tools.comment = { kind = "write", band = "medium" }
tools.reply = { kind = "write", band = "medium" }
[[grants]]
id = "triage"
agent = "demo"
purpose = "triage the support inbox"
tools = ["tickets__refund", "tickets__merge", "tickets__comment", "tickets__reply"]
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
[[people]]
id = "amy"
roles = ["admin"]
`.replace('GROUP', execFileSync('id', ['-gn'], { encoding: 'utf8' }).trim());
const POLICY = `@id("refunds-need-two") @approval("two") @confirm("two-person") @quorum("2") @reason("money leaves the house")
forbid (principal, action == Bailiwick::Action::"tickets__refund", resource)
unless { context.call.approvals.contains("two") };
@id("changes-need-one") @approval("one") @reason("a customer sees it")
forbid (principal, action in [Bailiwick::Action::"tickets__comment", Bailiwick::Action::"tickets__reply"], resource)
unless { context.call.approvals.contains("one") };
`;

const arrive = (browser, gateway, ...names) => Promise.all(names.map((person) => Person.arrive(browser, gateway, { person })));
const leave = async (...people) => { for (const person of people) await person.leave(); };
// The one question that is open, once the agent waits for it.
const question = (gateway) => until('the question', async () => gateway.approvals().find((one) => one.state === 'pending'));
const open = (gateway) => gateway.approvals().filter((one) => one.state === 'pending');
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
    await hears(bob, 'Approved by ada and bob; it ran', '#standing');
    const around = await bob.page.textContent('#around');
    is(around.includes('ada') && around.includes('bob') && around.match(/\(passkey\)/g)?.length === 2, `what was said: ${around}`);
    await bob.picture('two-ran');
    // Once: the same call asks both anew, and says that it just ran.
    const again = gateway.refund(4900);
    const anew = await question(gateway);
    await bob.open(`/approvals/${anew.id}`);
    await hears(bob, 'Exactly this call was asked before', '#standing');
    await hears(bob, 'It ran: success', '#standing');
    await bob.picture('just-ran');
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
    await hears(olga, 'owns the grant or its agent', '#decision');
    await hears(olga, '`approvals.allow_same_user` says so; here it is off', '#decision');
    await olga.picture('owner');
    is(await olga.page.locator('button.approve').count() === 0, 'the owner is asked for a yes that does not count');
    // A form sent by hand is refused all the same.
    const form = await olga.page.locator('form:has(input[value="deny"])').evaluate((one) => Object.fromEntries(new FormData(one)));
    const sent = await olga.context.request.post(`${olga.origin}/approvals/${asked.id}/decision`, {
      headers: { origin: olga.origin, 'sec-fetch-site': 'same-origin' }, form: { ...form, verdict: 'approve', operator: gateway.credential() },
    });
    const refusal = await sent.text();
    is(sent.status() === 403 && refusal.includes('class="menu"'), `an owner's yes got ${sent.status()}: ${refusal.slice(0, 300)}`);
    is(standing(gateway, asked).state === 'pending' && agent.waits(), 'the owner let it go');
    // A no of hers is as good as anybody's.
    await olga.open(`/approvals/${asked.id}`);
    await olga.pressed('d');
    await olga.page.keyboard.type('mine, and wrong');
    await olga.pressed('Tab', 'Tab', 'Enter');
    const { code, said } = await agent;
    is(code !== 0 && said.includes('mine, and wrong'), `the agent heard: ${said}`);
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

  async 'like calls of one task are decided at once, each on its own record'(browser, gateway) {
    const [ada] = await arrive(browser, gateway, 'ada');
    const calls = ['T-11', 'T-12', 'T-13'].map((id) => gateway.call('tickets__comment', 'id=T-17', `text=${id}`));
    const other = gateway.call('tickets__reply', 'id=T-17', 'text=T-14');
    const merge = gateway.call('tickets__merge', 'id=T-17', 'into=T-18');
    await until('all questions', async () => open(gateway).length === 5);
    const critical = open(gateway).find((one) => one.tool === 'tickets__merge');
    const single = open(gateway).find((one) => one.tool === 'tickets__reply');
    await ada.open('/');
    await ada.waits(5);
    is(await ada.page.locator(`#choose-${critical.id}`).count() === 0, 'a critical call can be chosen');
    // By keyboard: the first row is the critical one.
    await ada.pressed('j', 'x', 'j', 'x', 'j', 'x');
    is(await ada.page.locator('input[name="id"]:checked').count() === 2, 'x does not choose');
    // What was chosen stays chosen when the list is put in place anew.
    gateway.cli('approvals', 'ack', single.id);
    await ada.picture('batch-chosen');
    await ada.pressed('b', 'Enter');
    await ada.page.waitForURL('**/batch?*');
    is(await ada.page.locator('ol.batch > li').count() === 2, 'two were chosen');
    // By the page of one of them: all like it of its task, and nothing else.
    const like = open(gateway).find((one) => one.tool === 'tickets__comment');
    await ada.open(`/approvals/${like.id}`);
    await ada.page.locator(`a[href="/batch?like=${like.id}"]`).click();
    await ada.page.waitForURL('**/batch?like=*');
    is(await ada.page.locator('ol.batch > li').count() === 3, 'three are alike');
    const main = await ada.page.textContent('main');
    is(['T-11', 'T-12', 'T-13'].every((id) => main.includes(id)) && !main.includes('T-14'), 'not every argument is there');
    is((await grave(ada.page)) === '', await grave(ada.page));
    await ada.picture('batch');
    // One of them goes away before the answer: none is decided, and it says which.
    const gone = open(gateway).find((one) => one.tool === 'tickets__comment' && one.id !== like.id);
    gateway.cli('approvals', 'deny', gone.id, '--reason', 'this one not');
    await ada.pressed('a', 'Enter');
    await hears(ada, 'Nothing was decided');
    await hears(ada, `${gone.code} is denied`);
    await ada.picture('batch-changed');
    is(open(gateway).length === 4, `something was decided: ${open(gateway).length} are open`);
    ada.faults = ada.faults.filter((fault) => !/status of 409/.test(fault));
    await ada.page.locator('a.button').click();
    await ada.page.waitForURL('**/batch?id=*');
    is(await ada.page.locator('ol.batch > li').count() === 2, 'the others are not there');
    await ada.pressed('a', 'Enter');
    await until('both decisions', async () => gateway.approvals().filter((one) => one.tool === 'tickets__comment' && one.decisions[0]?.batch?.length === 2).length === 2);
    const answers = await Promise.all(calls);
    is(answers.filter(({ code }) => code === 0).length === 2 && answers.some(({ said }) => said.includes('this one not')), `the agents heard: ${answers.map(({ said }) => said).join(' | ')}`);
    const records = JSON.parse(gateway.cli('audit', 'tail', '-n', '300', '--stream', 'admin', '--json')).filter((one) => one.event === 'approval_decided' && one.with?.batch);
    is(records.length === 2, `${records.length} have a record of their own`);
    // Without a script: boxes and buttons alone.
    const context = await browser.newContext({ javaScriptEnabled: false, storageState: await ada.context.storageState(), viewport: { width: 360, height: 740 } });
    const page = await context.newPage();
    await ada.open('/', page);
    const more = gateway.call('tickets__comment', 'id=T-17', 'text=T-15');
    await until('two that can be chosen', async () => { await ada.open('/', page); return (await page.locator('input[name="id"]').count()) === 2; });
    for (const box of await page.locator('label.choose').all()) await box.click();
    await page.locator('#choice button').click();
    await page.waitForLoadState();
    await page.locator('#proof-deny summary').click();
    await page.locator('#operator-deny').fill(gateway.credential());
    await page.locator('#reason').fill('none of these');
    await ada.picture('batch-no-script', page);
    await page.locator('button.deny').click();
    await page.waitForLoadState();
    for (const { code, said } of await Promise.all([other, more])) is(code !== 0 && said.includes('none of these'), `the agent heard: ${said}`);
    gateway.cli('approvals', 'deny', critical.id, '--reason', 'only there');
    await merge;
    await context.close();
    await leave(ada);
  },

  async 'what was let go in an emergency is looked at by somebody else, once'(browser, gateway) {
    const [olga, ada] = await arrive(browser, gateway, 'olga', 'ada');
    const agent = gateway.call('tickets__comment', 'id=T-17', 'text=T-16');
    const asked = await question(gateway);
    gateway.cli('approvals', 'break-glass', asked.id, '--reason', 'the shop was down', '--yes');
    is((await agent).code === 0, 'it was not let go');
    await ada.open('/reviews');
    await hears(ada, 'the shop was down');
    // Who let it go has made the link of her passkey too, and could be her.
    await hears(ada, 'whoever let it go made the link by which this passkey was added');
    is(await ada.page.locator('main form').count() === 0, 'a passkey of whoever let it go reviews it');
    await until('its number in the menu', async () => (await ada.page.locator('#reviews-due').textContent()).startsWith('1'));
    is((await grave(ada.page)) === '', await grave(ada.page));
    await ada.picture('reviews');
    // Whose call it is has nothing to press.
    await olga.open('/reviews');
    await hears(olga, 'the shop was down');
    is(await olga.page.locator('main form').count() === 0, 'the owner reviews their own');
    // Where one person is to do both, the configuration says so.
    gateway.configure((text) => text.replace('[approvals]', '[approvals]\nallow_same_user = true'));
    await ada.open('/reviews');
    await ada.page.locator(`#note-${asked.id}`).fill('it was right');
    await ada.page.locator('main button[type=submit]').click();
    await hears(ada, 'Nothing waits for a second look');
    await hears(olga, 'Nothing waits for a second look');
    const { reviewed_by: by } = standing(gateway, asked);
    is(by?.approver?.name === 'ada' && by.approver.method === 'passkey' && by.reason === 'it was right', `it was reviewed by ${JSON.stringify(by)}`);
    await ada.open(`/approvals/${asked.id}`);
    await hears(ada, 'alone, in an emergency', '#standing');
    await hears(ada, 'Looked at by ada', '#around');
    await ada.picture('reviewed');
    gateway.configure((text) => text.replace('\nallow_same_user = true', ''));
    await leave(olga, ada);
  },

  async 'what the agent claims is marked as that, and is no part of what is decided'(browser, gateway) {
    const [ada] = await arrive(browser, gateway, 'ada');
    const agent = gateway.call('tickets__comment', 'id=T-17', 'text=again', '--reason', 'the customer <b>wrote</b> again\u202e');
    const asked = await question(gateway);
    await ada.open(`/approvals/${asked.id}`);
    await hears(ada, 'the customer <b>wrote</b> again', '.claim blockquote');
    await hears(ada, "In the agent's own words. Nobody has checked them", '.claim');
    is((await ada.page.textContent('.claim')).includes('\\u{202e}'), 'what is invisible is not shown');
    await ada.picture('claim');
    // The same call with other words is the same question.
    const again = gateway.call('tickets__comment', 'id=T-17', 'text=again', '--reason', 'something else');
    await until('both to wait', async () => standing(gateway, asked).waiting === 2);
    is(open(gateway).length === 1, 'other words ask anew');
    await approve(ada);
    await until('the decision', async () => standing(gateway, asked).state !== 'pending');
    const heard = [agent, again];
    is((await Promise.race(heard)).code === 0, 'nobody was let go');
    // An approval is good once: the other one asks again.
    const left = await question(gateway);
    is(left.claim !== undefined && left.id !== asked.id, 'one yes let two go');
    gateway.cli('approvals', 'deny', left.id, '--reason', 'only asked');
    await Promise.all(heard);
    await leave(ada);
  },

  async 'an admin takes a session and a passkey away from somebody else'(browser, gateway) {
    const [amy, bob] = await arrive(browser, gateway, 'amy', 'bob');
    await amy.open('/people');
    is((await grave(amy.page)) === '', await grave(amy.page));
    await amy.picture('people');
    const card = amy.page.locator('#person-bob');
    await card.locator('details[id^="away-s-"] > summary').last().click();
    await card.locator('details[id^="away-s-"] input[name=reason]').last().fill('left the team');
    await card.locator('details[id^="away-s-"] button.deny').last().click();
    await until('its end', async () => { const answer = await bob.context.request.get(`${bob.origin}/`, { maxRedirects: 0 }); return answer.status() === 303; });
    await amy.open('/people');
    await card.locator('details[id^="away-k-"] > summary').first().click();
    await card.locator('details[id^="away-k-"] input[name=reason]').first().fill('left the team');
    await card.locator('details[id^="away-k-"] button.deny').first().click();
    await until('no passkey', async () => (await card.textContent()).includes('No passkey'));
    gateway.passkeys.delete('bob');
    await leave(amy);
    await bob.context.close();
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
