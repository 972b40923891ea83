// Networks of images by bitsmith and by ONNX Runtime, in turn:
//   node bench/onnx_runtime.js BITSMITH THREADS BATCH NET.onnx...
// BITSMITH is the program. Random inputs. Images per second, by the clock and by processor time,
// which other work on the machine hardly changes: medians of three rounds, in each of which both are
// measured for a second or two. Needs `make clients`.
const {execFileSync} = require('child_process');
const path = require('path');
const ort = require(path.join(__dirname, '../tests/node_modules/onnxruntime-node'));

const kRounds = 3;

function randomInput(extents) {
  const data = new Float32Array(extents.reduce((a, b) => a * b, 1));
  for (let i = 0; i < data.length; i += 1) {  // normal, by Box and Muller
    data[i] = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  }
  return new ort.Tensor('float32', data, extents);
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

// Images in a run, and what runs it.
async function openSession(net, threads, batch) {
  const session = await ort.InferenceSession.create(
      net, {intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential',
            logSeverityLevel: 3});
  const {shape} = session.inputMetadata[0];
  const images = typeof shape[0] === 'number' && shape[0] > 0 ? shape[0] : batch;
  const feeds = {[session.inputNames[0]]: randomInput([images, ...shape.slice(1)])};
  await session.run(feeds);
  return {images, run: () => session.run(feeds)};
}

async function measureRuntime({images, run}) {
  const start = process.hrtime.bigint();
  const startProcessor = process.cpuUsage();
  let count = 0;
  let seconds = 0;
  while (seconds < 1) {
    await run();
    count += images;
    seconds = Number(process.hrtime.bigint() - start) * 1e-9;
  }
  const {user, system} = process.cpuUsage(startProcessor);
  return {clock: count / seconds, processor: count / ((user + system) * 1e-6)};
}

function measureBitsmith(program, net, threads, batch) {
  const text = execFileSync(program, ['bench', net, '--threads', `${threads}`, '--batch', `${batch}`,
                                      '--runs', '1', '--json']);
  const [speed] = JSON.parse(text).runs;
  return {clock: speed.images_per_s, processor: speed.images_per_processor_s};
}

async function main([program, threads, batch, ...nets]) {
  console.log(`${threads} threads, batches of ${batch}; images per second of processor time (clock)`);
  console.log(`${'network'.padEnd(36)}${'bitsmith'.padStart(18)}${'ONNX Runtime'.padStart(18)}  ratio`);
  for (const net of nets) {
    const session = await openSession(net, Number(threads), Number(batch));
    const ours = [];
    const theirs = [];
    for (let round = 0; round < kRounds; round += 1) {
      ours.push(measureBitsmith(program, net, threads, session.images));
      theirs.push(await measureRuntime(session));
    }
    const of = (list, key) => median(list.map((x) => x[key]));
    const cell = (list) => `${of(list, 'processor').toPrecision(4)} (${of(list, 'clock').toPrecision(4)})`;
    const ratio = of(ours, 'processor') / of(theirs, 'processor');
    console.log(path.basename(net).padEnd(36) + cell(ours).padStart(18) + cell(theirs).padStart(18) +
                `  ${ratio.toFixed(2)}`);
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(String(error));
  process.exit(1);
});
