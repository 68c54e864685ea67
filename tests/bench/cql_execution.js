/* The same work in cql-execution, beside ours: CDS Connect statin-use on its five patients, every
 * expression, from the bundle's bytes (JSON text to resources, then evaluation).
 *
 *   bench_cql --statin-use | NODE_PATH=... node cql_execution.js DATA-FOLDER [rounds]
 *
 * Standard input has our figures, one line "patient microseconds" per patient. Libraries, value
 * sets and the FHIR model are loaded once, before the clock starts, on both sides; both evaluate at 2022-06-15T12:00Z.
 * Figures are printed, never asserted. Results that are not the expected ones are said, for then
 * the work was not the same. */
'use strict';
const fs = require('fs');
const path = require('path');
const cql = require('cql-execution');
const fhir = require('cql-exec-fhir');

const MAIN = 'USPSTFStatinUseForPrimaryPreventionOfCVDInAdultsFHIRv401';
const WARM_UP = 3;

function readJson(...parts) {
  return JSON.parse(fs.readFileSync(path.join(...parts), 'utf8'));
}

function engineFor(folder) {
  const libraries = fs.readdirSync(path.join(folder, 'libraries'))
    .filter(name => name.endsWith('.json'))
    .map(name => readJson(folder, 'libraries', name));
  const main = libraries.find(l => l.library.identifier.id === MAIN);
  const library = new cql.Library(main, new cql.Repository(libraries));
  const codes = new cql.CodeService(readJson(folder, 'valuesets.json'));
  return {executor: new cql.Executor(library, codes), source: fhir.PatientSource.FHIRv401()};
}

/* One whole piece of work: bytes in, the values of all expressions out. */
async function evaluate({executor, source}, bytes) {
  const resources = JSON.parse(bytes.toString('utf8')).data;
  source.reset();
  source.loadBundles([
    {resourceType: 'Bundle', type: 'collection', entry: resources.map(resource => ({resource}))}
  ]);
  return executor.exec(source, new cql.DateTime(2022, 6, 15, 12, 0, 0, 0, 0));
}

function unexpected(results, expected) {
  const got = Object.values(results.patientResults)[0];
  return Object.keys(expected.results).filter(name =>
    JSON.stringify(got[name]) !== JSON.stringify(expected.results[name]));
}

async function medianMicroseconds(engine, bytes, rounds) {
  const times = [];
  for (let i = 0; i < WARM_UP + rounds; i++) {
    const start = process.hrtime.bigint();
    await evaluate(engine, bytes);
    if (i >= WARM_UP)
      times.push(Number(process.hrtime.bigint() - start) / 1000);
  }
  times.sort((a, b) => a - b);
  return times[Math.floor(times.length / 2)];
}

function versionOf(name) { /* its main file stands in a folder of the package */
  let folder = path.dirname(require.resolve(name));
  while (!fs.existsSync(path.join(folder, 'package.json')))
    folder = path.dirname(folder);
  return readJson(folder, 'package.json').version;
}

function ourFigures() {
  return fs.readFileSync(0, 'utf8').split('\n').filter(line => line !== '')
    .map(line => line.split(' ')).map(([patient, us]) => ({patient, us: Number(us)}));
}

async function main() {
  const folder = process.argv[2];
  const rounds = Number(process.argv[3] || 20);
  const engine = engineFor(folder);
  const row = (a, b, c, d) =>
    console.log(a.padEnd(20), b.padStart(12), c.padStart(18), d.padStart(8));

  console.log(`\nstatin-use, bytes to values, p50: cql-execution ${versionOf('cql-execution')}, ` +
              `cql-exec-fhir ${versionOf('cql-exec-fhir')}, node ${process.versions.node}`);
  row('patient', 'ours us', 'cql-execution us', 'times');
  for (const {patient, us} of ourFigures()) {
    const bytes = fs.readFileSync(path.join(folder, 'bundles', `${patient}.json`));
    const wrong = unexpected(await evaluate(engine, bytes),
                             readJson(folder, `expected-${patient}.json`));
    const theirs = await medianMicroseconds(engine, bytes, rounds);
    row(patient, us.toFixed(1), theirs.toFixed(1), (theirs / us).toFixed(0));
    if (wrong.length !== 0)
      console.log(`  cql-execution's values are not the expected ones: ${wrong.join(', ')}`);
  }
}

main().catch(e => { console.error(e); process.exit(1); });
