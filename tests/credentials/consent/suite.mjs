// The authorization scenarios of the official suite for clients, at a gateway. A scenario that does not fit says why.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const { BAILIWICK_NODE: node, BAILIWICK_SUITE: suite } = process.env;
const only = process.argv[2];
// What a gateway does otherwise, and why.
const APART = {
  'auth/2025-03-26-oauth-metadata-backcompat': 'of a protocol that is not spoken downstream: servers say by RFC 9728 who gives their tokens',
  'auth/2025-03-26-oauth-endpoint-fallback': 'the same: endpoints are not guessed',
  'auth/scope-step-up': 'a task has the scopes that an owner consented to: a server that wants more has to be connected again',
  'auth/scope-retry-limit': 'the same: nothing is asked for again',
  'auth/client-credentials-jwt': 'no consent: a provider of another kind',
  'auth/client-credentials-basic': 'no consent: a provider of another kind',
  'auth/enterprise-managed-authorization': 'an extension',
  'auth/dpop': 'an extension',
  'auth/dpop-nonce': 'an extension',
  'auth/wif-jwt-bearer': 'an extension',
};
const listed = execFileSync(node, [suite, 'list', '--client'], { encoding: 'utf8' });
const scenarios = [...listed.matchAll(/- (auth\/\S+) \[([^\]]*)\]/g)].map(([, name, versions]) => [name, versions.split(',')]);
let [passed, run] = [0, 0];
for (const [name, versions] of scenarios) {
  if (only && !name.includes(only)) continue;
  if (APART[name]) {
    console.log(`apart   ${name}: ${APART[name]}`);
    continue;
  }
  for (const version of versions.filter((one) => ['2025-11-25', '2026-07-28'].includes(one))) {
    const out = mkdtempSync(join(tmpdir(), 'bailiwick-suite-'));
    const words = [suite, 'client', '--command', `${process.execPath} ${join(here, 'client.mjs')}`, '--scenario', name, '--spec-version', version, '--timeout', '60000', '-o', out];
    const { status, stdout, stderr } = spawnSync(node, words, { encoding: 'utf8', timeout: 120_000 });
    rmSync(out, { recursive: true, force: true });
    run += 1;
    passed += status === 0 ? 1 : 0;
    console.log(`${status === 0 ? 'ok     ' : 'FAILED '} ${name} (${version})`);
    if (status !== 0) console.log(`${stdout}${stderr}`.split('\n').slice(-60).map((line) => `        ${line.slice(0, 400)}`).join('\n'));
  }
}
console.log(`${passed} of ${run} passed`);
process.exit(passed === run ? 0 : 1);
