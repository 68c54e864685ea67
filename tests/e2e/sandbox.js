// What is around our service when the CDS Hooks sandbox plays (sandbox.sh starts both):
//   serve WORK DIR CASE    the sandbox's pages and a small FHIR server with the patient of a clinical case, whose days
//                          are moved to today; in front of our service a proxy that keeps what goes through
//   play WORK DIR PROGRAM  the user: a browser, checked on its screen, in what went through, and in our counters
'use strict';
const fs = require('fs');
const http = require('http');
const path = require('path');
const { spawnSync } = require('child_process');
const { createRequire } = require('module');

const [verb, work, dir, third] = process.argv.slice(2);
const at = (name) => path.join(work, name);
const read = (name) => fs.readFileSync(at(name), 'utf8');
const day = 86400000;

// Written whole or not at all: somebody waits for it.
function write(name, text) {
  fs.writeFileSync(at(name + '.part'), text);
  fs.renameSync(at(name + '.part'), at(name));
}

function listen(handler) {
  return new Promise((resolve) => {
    const server = http.createServer(handler);
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
  });
}

function send(res, status, type, body) {
  res.writeHead(status, { 'content-type': type, 'access-control-allow-origin': '*', 'access-control-allow-headers': '*' });
  res.end(body);
}

// ---- the patient ----

function caseOfToday(file) {
  const { asOf, bundle } = JSON.parse(fs.readFileSync(file, 'utf8'));
  const days = Math.floor(Date.now() / day) - Math.floor(Date.parse(asOf) / day);
  const move = (d) => new Date(Date.parse(d) + days * day).toISOString().slice(0, 10);
  const text = JSON.stringify(bundle).replace(/"(\d{4}-\d{2}-\d{2})(?=["T])/g, (_, d) => `"${move(d)}`);
  return JSON.parse(text);
}

// ---- an EHR's servers ----

// Everything of the type: what the patient's is, is all there is.
function fhir(resources, req, res) {
  const [type, id] = new URL(req.url, 'http://x').pathname.slice('/fhir/'.length).split('/');
  const json = (status, body) => send(res, status, 'application/fhir+json', JSON.stringify(body));
  if (req.method === 'OPTIONS') return send(res, 204, 'text/plain', '');
  if (type === 'metadata') return json(200, { resourceType: 'CapabilityStatement', fhirVersion: '4.0.1', status: 'active' });
  const all = resources.filter((r) => r.resourceType === type);
  if (id === undefined || id === '_search')
    return json(200, { resourceType: 'Bundle', type: 'searchset', total: all.length, entry: all.map((resource) => ({ resource })) });
  const one = all.find((r) => r.id === id);
  return one ? json(200, one) : json(404, { resourceType: 'OperationOutcome' });
}

function page(req, res) {
  const types = { '.html': 'text/html', '.js': 'text/javascript', '.png': 'image/png' };
  const name = path.basename(new URL(req.url, 'http://x').pathname) || 'index.html';
  const file = path.join(dir, 'sandbox/build', name);
  if (!fs.existsSync(file)) return send(res, 404, 'text/plain', '');
  return send(res, 200, types[path.extname(name)] || 'application/octet-stream', fs.readFileSync(file));
}

function body(stream) {
  return new Promise((resolve, reject) => {
    const parts = [];
    stream.on('data', (part) => parts.push(part));
    stream.on('end', () => resolve(Buffer.concat(parts)));
    stream.on('error', reject);
  });
}

// Line by line into WORK/calls: what was asked, and what was answered.
async function proxy(req, res) {
  const asked = await body(req);
  const to = http.request({ host: '127.0.0.1', port: read('hooks').trim(), path: req.url, method: req.method, headers: req.headers });
  to.on('error', () => send(res, 502, 'text/plain', ''));
  to.on('response', async (from) => {
    const answered = await body(from);
    const parse = (b) => { try { return JSON.parse(b.toString()); } catch { return null; } };
    fs.appendFileSync(at('calls'), JSON.stringify({
      method: req.method, url: req.url, signed: /^Bearer /.test(req.headers.authorization || ''),
      status: from.statusCode, request: parse(asked), response: parse(answered),
    }) + '\n');
    res.writeHead(from.statusCode, from.headers);
    res.end(answered);
  });
  to.end(asked);
}

async function serve() {
  const bundle = caseOfToday(third);
  const resources = bundle.entry.map((e) => e.resource);
  const keys = JSON.parse(fs.readFileSync(path.join(dir, 'sandbox/keys/jwk-keypair.json'), 'utf8')).keys;
  write('jwks.json', JSON.stringify({ keys: keys.map(({ d, ...publicKey }) => publicKey) }));
  write('case.ndjson', JSON.stringify(bundle) + '\n');
  write('patient', resources.find((r) => r.resourceType === 'Patient').id);
  write('calls', '');
  const ehr = await listen((req, res) => (req.url.startsWith('/fhir/') ? fhir(resources, req, res) : page(req, res)));
  write('servers.json', JSON.stringify({ ehr, service: await listen(proxy) }));
}

// ---- the user ----

let passed = 0;
let failed = 0;

async function check(name, fn) {
  try {
    await fn();
    passed++;
    console.log(`ok: ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED: ${name}\n${error.message}`);
  }
}

function must(good, text) {
  if (!good) throw new Error(text);
}

const calls = () => read('calls').split('\n').filter(Boolean).map((line) => JSON.parse(line));

// Asks again until fn answers with something.
async function until(what, fn) {
  const end = Date.now() + 30000;
  for (;;) {
    const got = await fn();
    if (got) return got;
    must(Date.now() < end, `waited too long: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

const answerOf = (hook, from) => until(`an answer on ${hook}`, () =>
  calls().slice(from).find((c) => c.method === 'POST' && c.url.endsWith(`-${hook}`) && c.status === 200));
const feedbackOf = (card) => until(`feedback on ${card}`, () =>
  calls().find((c) => c.url.endsWith('/feedback') && c.method === 'POST' && c.status === 200 && c.request.feedback[0].card === card));
const cardOf = (call, rule) => call.response.cards.find((c) => c.source.topic.code === rule);

async function metric(line) {
  const text = await (await fetch(`http://127.0.0.1:${read('http').trim()}/metrics`)).text();
  return text.split('\n').some((l) => l === line);
}

// The smallest box of the page that has the card's summary and its buttons.
async function boxOf(tab, card) {
  const handle = await tab.waitForFunction((summary) => [...document.querySelectorAll('[class*=decision-card]')]
    .find((box) => box.innerText.includes(summary)), { timeout: 30000 }, card.summary);
  return handle.asElement();
}

async function press(tab, root, label) {
  const button = await root.evaluateHandle((box, text) => [...box.querySelectorAll('button, li')]
    .find((b) => (text ? b.innerText.trim().toLowerCase() === text.toLowerCase() : b.getAttribute('aria-haspopup'))), label);
  must(button.asElement(), `no button "${label || 'menu'}"`);
  await button.asElement().evaluate((b) => b.click());
}

async function overrideWith(tab, card, display) {
  await press(tab, await boxOf(tab, card), '');
  const menu = await tab.waitForSelector('ul[role=menu]');
  await press(tab, menu, `Override: ${display}`);
  return feedbackOf(card.uuid);
}

// As from the clipboard: the page loses strokes that come quickly.
async function chooseDrug(tab) {
  const input = await tab.waitForSelector('input[name=medication-input]');
  await input.evaluate((field) => {
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, 'alendronic 70');
    field.dispatchEvent(new Event('input', { bubbles: true }));
  });
  const choice = await tab.waitForFunction(() => [...document.querySelectorAll('[role=button]')]
    .find((b) => /^Alendronic acid 70 MG .* Oral Tablet/i.test(b.innerText)));
  await choice.asElement().evaluate((b) => b.click());
}

async function play() {
  const puppeteer = createRequire(path.join(path.resolve(dir), 'x.js'))('puppeteer-core');
  const { ehr, service } = JSON.parse(read('servers.json'));
  const shots = path.join(dir, 'shots');
  fs.rmSync(shots, { recursive: true, force: true });
  fs.mkdirSync(shots);
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'],
    defaultViewport: { width: 1500, height: 2600 },
  });
  const tab = await browser.newPage();
  const shot = (name) => tab.screenshot({ path: path.join(shots, `${name}.png`) });
  const open = (screen, hook, more) => tab.goto(`${ehr}/?${new URLSearchParams({
    fhirServiceUrl: `${ehr}/fhir`, patientId: read('patient'), serviceDiscoveryURL: `${service}/cds-services`, screen, hook, ...more,
  })}`);
  let jaw, info, draft;

  await check('without a token nobody is told anything', async () => {
    must((await fetch(`${service}/cds-services`)).status === 401, 'it was answered');
  });
  await check('patient-view: the sandbox signs, is let in, and shows every card that it got', async () => {
    await open('patient-view', 'patient-view');
    const call = await answerOf('patient-view', 0);
    must(calls().some((c) => c.method === 'GET' && c.url === '/cds-services' && c.status === 200 && c.signed), 'discovery failed');
    must(calls().some((c) => c.method === 'OPTIONS'), 'the browser did not ask first');
    must(call.signed && Object.keys(call.request.prefetch).length > 3, 'no prefetch was sent');
    must(call.response.cards.length >= 3, `cards: ${call.response.cards.length}`);
    for (const card of call.response.cards) await boxOf(tab, card);
    jaw = cardOf(call, 'E2');
    info = cardOf(call, 'B6');
    await shot('1-patient-view');
  });
  await check('an offer that is taken comes back as accepted', async () => {
    await press(tab, await boxOf(tab, jaw), 'Oral surgery consultation');
    must((await feedbackOf(jaw.uuid)).request.feedback[0].outcome === 'accepted', 'another outcome');
    await until('the count', () => metric('osteoguard_rule_alerts_total{rule="E2",event="accepted"} 1'));
  });
  await check('a card that is overridden with a reason is not shown again', async () => {
    const reason = info.overrideReasons[0];
    await overrideWith(tab, info, reason.display);
    await until('the count', () => metric(`osteoguard_overrides_total{rule="B6",reason="${reason.code}"} 1`));
    const from = calls().length;
    await open('patient-view', 'patient-view');
    const call = await answerOf('patient-view', from);
    must(!cardOf(call, 'B6') && cardOf(call, 'E2'), 'B6 was told again, or E2 was not');
    await boxOf(tab, cardOf(call, 'E2'));
    await shot('2-patient-view-after-override');
  });
  await check('order-select: a drug that is chosen is questioned', async () => {
    await open('rx-view', 'order-select');
    const from = calls().length;
    await chooseDrug(tab);
    const call = await until('a card of the draft', () => calls().slice(from)
      .find((c) => c.url.endsWith('-order-select') && c.status === 200 && c.response && cardOf(c, 'D6')));
    draft = cardOf(call, 'D6');
    await boxOf(tab, draft);
    await shot('3-order-select');
    await until('the count', () => metric('osteoguard_rule_alerts_total{rule="D6",event="shown"} 1'));
  });
  await check('its override counts, though no alert stands behind it', async () => {
    const reason = draft.overrideReasons[0];
    await overrideWith(tab, draft, reason.display);
    await until('the count', () => metric(`osteoguard_overrides_total{rule="D6",reason="${reason.code}"} 1`));
    await shot('4-order-select-after-override');
  });
  await check('order-sign: what was overridden is not asked again, the rest is', async () => {
    await open('rx-sign', 'order-sign');
    await chooseDrug(tab);
    await tab.waitForFunction(() => document.querySelector('input[name=medication-input]').value.startsWith('Alendronic'));
    const from = calls().length;
    await press(tab, await tab.$('body'), 'Sign Order');
    const call = await answerOf('order-sign', from);
    must(cardOf(call, 'E2') && !cardOf(call, 'D6'), `told: ${call.response.cards.map((c) => c.source.topic.code).join()}`);
    await boxOf(tab, cardOf(call, 'E2'));
    await shot('5-order-sign');
  });
  await check('the report says what became of all of it', async () => {
    const run = spawnSync(third, ['report', '-c', at('osteoguard.yaml'), '--json'], { encoding: 'utf8' });
    const rule = (id) => JSON.parse(run.stdout).rules.find((r) => r.rule === id);
    must(run.status === 0, run.stderr);
    must(rule('D6').fired === 1 && rule('D6').inCalls === 1 && rule('D6').overridden === 1, run.stdout);
    must(rule('B6').overridden === 1 && rule('E2').accepted === 1, run.stdout);
    console.log(spawnSync(third, ['report', '-c', at('osteoguard.yaml')], { encoding: 'utf8' }).stdout);
  });
  if (failed > 0) await shot('failed');
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 ? 1 : 0);
}

(verb === 'serve' ? serve() : play()).catch((error) => { console.error(error); process.exit(1); });
