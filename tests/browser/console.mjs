// What people do at the console, in a real browser, with real agents asking. Each case stands for itself and says what it saw.
import { readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Gateway, ISSUED, Person, each, grave, is, require, until } from './harness.mjs';

const { Validator } = await import(require.resolve('@seriousme/openapi-schema-validator'));
const SECTIONS = ['/', '/live', '/agents', '/grants', '/grants/demo-triage', '/connectors', '/connectors/tickets', '/credentials', '/halts', '/detections', '/audit', '/reviews', '/people', '/passkeys'];

const cases = {
  async 'an approval by keyboard alone, and the agent goes on'(browser, gateway) {
    const ada = await Person.arrive(browser, gateway);
    await ada.open('/');
    is((await ada.page.textContent('main')).includes('it appears here by itself'), 'the empty inbox says nothing');
    await ada.picture('inbox-empty');
    const agent = gateway.refund(4900);
    await ada.waits(1);
    await ada.picture('inbox');
    await ada.pressed('j');
    is((await ada.focused()).startsWith('open-apr-'), `j went to ${await ada.focused()}`);
    await ada.pressed('Enter');
    await ada.page.waitForURL('**/approvals/*');
    is((await ada.focused()) === 'BODY', `something has the focus by itself: ${await ada.focused()}`);
    await until('that the agent waits', async () => (await ada.page.textContent('#standing')).includes('the agent waits'));
    await ada.picture('approval');
    await ada.pressed('?');
    is(await ada.page.locator('dialog[open]').count() === 1, 'no list of keys');
    await ada.picture('keys');
    await ada.pressed('Escape');
    await until('the list to go', async () => await ada.page.locator('dialog[open]').count() === 0);
    await ada.pressed('a');
    is((await ada.focused()) === 'a', `a went to ${await ada.focused()}`);
    await ada.pressed('Enter');
    await until('the decision', async () => (await ada.page.textContent('#standing')).includes('Approved by admin'));
    const { code, said } = await agent;
    is(code === 0 && said.includes('"amount_cents":4900'), `the agent heard: ${said}`);
    await until('what became of it, by itself', async () => (await ada.page.textContent('#standing')).includes('it ran'));
    is((await ada.page.textContent('#around')).includes('passkey'), 'how it was proven is not shown');
    await ada.picture('approved');
    await ada.leave();
  },

  async 'a denial whose reason reaches the agent'(browser, gateway) {
    const ada = await Person.arrive(browser, gateway);
    await ada.open('/');
    const agent = gateway.refund(777);
    await ada.waits(1);
    await ada.pressed('j', 'Enter');
    await ada.page.waitForURL('**/approvals/*');
    is((await ada.page.textContent('#content')).includes('Of '), 'the last approved call is not compared');
    await ada.pressed('d');
    is((await ada.focused()) === 'reason', `d went to ${await ada.focused()}`);
    await ada.page.keyboard.type('not for a call that was dropped');
    await ada.pressed('Tab', 'Tab', 'Enter');
    const { code, said } = await agent;
    is(code !== 0 && said.includes('not for a call that was dropped'), `the agent heard: ${said}`);
    await until('the decision', async () => (await ada.page.textContent('#standing')).includes('Denied by admin'));
    await ada.picture('denied');
    await ada.leave();
  },

  async 'a second tab turns read-only by itself, and one that is late is told who decided'(browser, gateway) {
    const ada = await Person.arrive(browser, gateway);
    await ada.open('/');
    const agent = gateway.refund(4901);
    await ada.waits(1);
    const path = await ada.page.locator('[data-row]').first().getAttribute('href');
    const [second, late] = [await ada.context.newPage(), await ada.context.newPage()];
    for (const page of [second, late]) { ada.listen(page); await ada.open(path, page); }
    // This one hears nothing more, as behind a connection that is gone.
    await late.evaluate(() => { window.EventSource = class {}; });
    const stale = await late.locator('form:has(input[value="deny"])').evaluate((form) => new URLSearchParams(new FormData(form)).toString());
    await ada.open(path);
    await ada.pressed('a', 'Enter');
    const { code, said } = await agent;
    is(code === 0, `the agent was not let go, and heard: ${said}. At the page: ${await ada.page.textContent('main')}`);
    await until('the second tab', async () => (await second.textContent('#decision')).includes('Nothing is left to decide'));
    is(await second.locator('#decision form').count() === 0, 'the second tab still has a form');
    is((await second.textContent('#told')).includes('is'), 'nobody is told who can\'t see');
    await ada.picture('second-tab', second);
    const fields = `${stale}&operator=${gateway.credential()}`.replace('&operator=&', '&').replace(/&operator=(?=&|$)/, '').replace(/reason=(?=&|$)/, 'reason=late');
    const answer = await ada.page.evaluate(async ([to, body]) => {
      const said = await fetch(to, { method: 'POST', body, headers: { 'content-type': 'application/x-www-form-urlencoded' } });
      return { status: said.status, text: await said.text() };
    }, [`${path}/decision`, fields]);
    is(answer.status === 409 && answer.text.includes('Approved by admin'), `a late answer got ${answer.status}`);
    await ada.leave();
  },

  async 'without a script, with the operator credential typed'(browser, gateway) {
    const ada = await Person.arrive(browser, gateway, { passkey: false });
    const state = await ada.context.storageState();
    const context = await browser.newContext({ javaScriptEnabled: false, storageState: state, viewport: { width: 1280, height: 900 } });
    const page = await context.newPage();
    const agent = gateway.refund(4902);
    await until('the inbox', async () => { await ada.open('/', page); return (await page.locator('[data-row]').count()) === 1; });
    await page.locator('[data-row]').first().click();
    await page.locator('#proof-approve summary').click();
    await page.locator('#operator-approve').fill(gateway.credential());
    await ada.picture('no-script', page);
    await page.locator('button.approve').first().click();
    await page.waitForLoadState();
    is((await page.textContent('#standing')).includes('Approved by admin'), await page.textContent('main'));
    const { code, said } = await agent;
    is(code === 0, `the agent heard: ${said}`);
    await context.close();
    await ada.leave();
  },

  async 'it expires before the eyes'(browser) {
    const gateway = await Gateway.start({ BAILIWICK_APPROVALS__APPROVE_BY: '8s', BAILIWICK_APPROVALS__HOLD: '2s' });
    try {
      const ada = await Person.arrive(browser, gateway);
      await ada.open('/');
      const agent = gateway.refund(1);
      await ada.waits(1);
      await ada.pressed('j', 'Enter');
      await ada.page.waitForURL('**/approvals/*');
      const before = await ada.page.textContent('#standing time');
      await until('the time to go down', async () => (await ada.page.textContent('#standing time').catch(() => 'gone')) !== before);
      await until('its end', async () => (await ada.page.textContent('#standing')).includes('Nobody decided in time'));
      is(await ada.page.locator('#decision form').count() === 0, 'there is still something to press');
      await ada.picture('expired');
      await agent;
      await ada.leave();
    } finally { await gateway.stop(); }
  },

  async 'every page fits a phone, and its targets a finger'(browser, gateway) {
    const ada = await Person.arrive(browser, gateway, { passkey: false, viewport: { width: 360, height: 740 } });
    const agent = gateway.refund(4903);
    await ada.open('/');
    await ada.waits(1);
    const question = await ada.page.locator('[data-row]').first().getAttribute('href');
    await ada.open('/audit');
    const call = await ada.page.locator('a[href^="/calls/"]').first().getAttribute('href');
    for (const path of [...SECTIONS, question, call]) {
      await ada.open(path);
      const wide = await ada.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      is(wide <= 0, `${path} is ${wide} px too wide`);
      const small = await ada.page.evaluate(() => [...document.querySelectorAll('button, summary, .menu a, .row .open, input:not([type=hidden]):not([type=checkbox]), select, textarea')]
        .filter((one) => one.checkVisibility()).map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
        .filter(([, box]) => box.width > 0 && box.height < 43.5).map(([html, box]) => `${html} ${box.height}`));
      is(small.length === 0, `${path} has small targets: ${small.join(' | ')}`);
      await ada.picture(`phone${path.replace(/\W+/g, '-')}`.slice(0, 40));
    }
    gateway.cli('approvals', 'deny', question.split('/').pop(), '--reason', 'only looked at');
    await agent;
    await ada.leave();
  },

  async 'no page has a serious fault for those who see, hear or move otherwise'(browser, gateway) {
    const ada = await Person.arrive(browser, gateway, { passkey: false });
    const agent = gateway.refund(4904);
    await ada.open('/');
    await ada.waits(1);
    const question = await ada.page.locator('[data-row]').first().getAttribute('href');
    const trail = await (await ada.context.request.get(`${ada.origin}/audit?tool=tickets__refund&outcome=success`)).text();
    const call = `/calls/${/\/calls\/([^"]+)/.exec(trail)[1]}`;
    const state = await ada.context.storageState();
    for (const colorScheme of ['light', 'dark']) {
      const context = await browser.newContext({ storageState: state, colorScheme, viewport: { width: 1280, height: 900 } });
      const page = await context.newPage();
      for (const path of [...SECTIONS, question, call]) {
        await ada.open(path, page);
        const found = await grave(page);
        is(found === '', `${path} (${colorScheme}): ${found}`);
        await ada.picture(`${colorScheme}${path.replace(/\W+/g, '-')}`.slice(0, 40), page);
      }
      await context.close();
    }
    gateway.cli('approvals', 'deny', question.split('/').pop(), '--reason', 'only looked at');
    await agent;
    await ada.leave();
  },

  async 'the admin API is as it is described, for programs with the credential'(browser, gateway) {
    const ada = await Person.arrive(browser, gateway, { passkey: false });
    const described = await (await fetch(`${ada.origin}/api/v1/openapi.json`)).json();
    const judged = await new Validator().validate(structuredClone(described));
    is(judged.valid, `the description is none: ${JSON.stringify(judged.errors)}`);
    const ask = (method, path, authorization, body) => fetch(ada.origin + path, { method, body, headers: authorization ? { authorization } : {} });
    const good = `Operator ${gateway.credential()}`;
    const lists = Object.entries(described.paths).filter(([path, at]) => at.get && !path.includes('{'));
    is(lists.length >= 6, `only ${lists.length} lists`);
    for (const [path] of lists) {
      is((await ask('GET', path)).status === 401, `${path} is for anybody`);
      is((await ask('GET', path, good)).status === 200, `${path} is for nobody`);
    }
    is((await ask('POST', '/api/v1/halts', 'Operator 00', '{"what":"everything"}')).status === 401, 'a wrong credential halts everything');
    await ada.leave();
  },

  async 'what is lent is seen, taken back at the page, and gone at its issuer'(browser) {
    const gateway = await Gateway.start({}, ISSUED);
    const issued = () => readdirSync(join(gateway.folder, 'issued')).filter((name) => name.startsWith('lease-')).length;
    const long = new Date(Date.now() - 100 * 24 * 3600 * 1000);
    utimesSync(join(gateway.folder, 'shop.token'), long, long);
    try {
      const [ada, vic] = [await Person.arrive(browser, gateway, { person: 'ada' }), await Person.arrive(browser, gateway, { person: 'vic', passkey: false })];
      await ada.open('/credentials');
      is((await ada.page.textContent('main')).includes('[[providers]]'), 'the empty page does not say what to do');
      await ada.picture('credentials-empty');
      is((await gateway.call('tickets__get', 'id=T-17')).code === 0 && (await gateway.call('files__list', 'path=/')).code === 0, 'nothing is lent');
      // By itself, without loading it anew.
      await until('both', async () => (await ada.page.locator('#credentials .state.good').count()) === 2);
      const text = await ada.page.textContent('#credentials');
      is(text.includes('triage the tickets') && text.includes('1 use') && text.includes('takes nothing back') && text.includes('90 days'), text);
      is(!text.includes('made-for-'), 'the page shows what was lent');
      // Each from its grant, and from its connector.
      await vic.open('/grants/triage');
      await vic.page.locator('a[href="/credentials?grant=triage"]').click();
      await vic.page.waitForURL('**/credentials?grant=triage');
      is((await vic.page.locator('#credentials .state.good').count()) === 2 && !(await vic.page.textContent('#credentials')).includes('90 days'), 'the filter shows something else');
      await vic.open('/connectors/tickets');
      await vic.page.locator('a[href="/credentials?connector=tickets"]').click();
      await vic.page.waitForURL('**/credentials?connector=tickets');
      is((await vic.page.locator('#credentials .state.good').count()) === 1, 'the filter lets too much through');
      // Who only looks has nothing to press, and is refused without it.
      const lease = await vic.page.locator('#credentials a.open').first().getAttribute('href');
      await vic.open(lease);
      is(await vic.page.locator('main form').count() === 0 && await vic.page.locator('a.button').count() === 0, 'a viewer has a button');
      const forged = (await vic.context.request.post(`${vic.origin}${lease}/revoke`, { form: { reason: 'x' }, headers: { origin: vic.origin } })).status();
      is(forged === 403, `a form of nobody's got ${forged}`);
      await ada.picture('credentials');
      for (const colorScheme of ['light', 'dark']) {
        const context = await browser.newContext({ storageState: await ada.context.storageState(), colorScheme, viewport: { width: 360, height: 740 } });
        const page = await context.newPage();
        for (const path of ['/credentials', lease]) {
          await ada.open(path, page);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
          is(wide <= 0, `${path} is ${wide} px too wide`);
          const found = await grave(page);
          is(found === '', `${path} (${colorScheme}): ${found}`);
          await ada.picture(`credentials-${path === lease ? 'one-' : ''}${colorScheme}-phone`, page);
        }
        await context.close();
      }
      is(issued() === 1, `${issued()} are at the issuer`);
      await ada.page.locator(`a.open[href="${lease}"]`).press('Enter');
      await ada.page.waitForURL(`**${lease}`);
      await ada.page.locator('#why').fill('looked odd');
      await ada.picture('credential');
      await ada.page.locator('button.deny').click();
      await until('its end', async () => (await ada.page.textContent('#lease')).includes('taken back'));
      is((await ada.page.textContent('#lease')).includes('looked odd') && await ada.page.locator('main form').count() === 0, 'nobody says why');
      await ada.picture('credential-ended');
      is(issued() === 0, 'it is still at its issuer');
      await until('the viewer to hear of it', async () => (await vic.page.textContent('#lease')).includes('taken back'));
      await until('its process to go', () => JSON.parse(gateway.cli('connectors', 'show', 'tickets', '--json'))[0].processes.length === 0);
      // Without a script, with the operator credential; where the issuer does not do it, that is said, and when it is tried again.
      is((await gateway.call('tickets__get', 'id=T-17')).code === 0 && issued() === 1, 'the next call is lent nothing');
      writeFileSync(join(gateway.folder, 'away'), '');
      const context = await browser.newContext({ javaScriptEnabled: false, storageState: await ada.context.storageState(), viewport: { width: 1280, height: 900 } });
      const page = await context.newPage();
      await ada.open('/credentials?connector=tickets', page);
      await page.locator('#credentials a.button.deny').click();
      await page.locator('#proof-take-back summary').click();
      await page.locator('#operator-take-back').fill(gateway.credential());
      await page.locator('button.deny').click();
      await until('the fault', async () => { await ada.open('/credentials', page); return (await page.textContent('#credentials')).includes('Could not be taken back'); });
      is((await page.textContent('#credentials')).includes('The next try'), await page.textContent('#credentials'));
      await ada.picture('credentials-overdue', page);
      await context.close();
      is(issued() === 1, 'the issuer took it back');
      await ada.leave();
      await vic.leave();
    } finally { await gateway.stop(); }
  },

  async 'what is frozen at the console stops, and goes on when it is thawed'(browser, gateway) {
    const ada = await Person.arrive(browser, gateway);
    await ada.open('/halts');
    await ada.page.locator('#what').fill('tool:tickets__get');
    await ada.page.locator('#why').fill('wrong answers');
    await ada.page.locator('form:has(#what) button.deny').click();
    await until('the halt', async () => (await ada.page.textContent('#halts')).includes('wrong answers'));
    await ada.picture('halted');
    is((await gateway.call('tickets__get', 'id=T-17')).code !== 0, 'it goes on');
    await ada.page.locator('#thaw-tool-tickets__get').fill('mended');
    await ada.page.locator('form[action="/halts/lift"] button[type=submit]').click();
    await until('its end', async () => (await ada.page.textContent('#halts')).includes('Nothing is frozen'));
    is((await gateway.call('tickets__get', 'id=T-17')).code === 0, 'it does not go on');
    await ada.leave();
  },
};

process.exit(await each(cases, await Gateway.start()));
