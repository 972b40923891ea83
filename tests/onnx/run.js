// Runs networks with ONNX Runtime:  node run.js LIST
// A line of LIST is NET.onnx INPUT OUTPUT EXTENT..., parted by tabs. INPUT holds float32 of the shape
// given; OUTPUT gets all outputs of the network as float32, one after the other. LIST "-": only says
// whether ONNX Runtime is there; `make clients` gets it.
const fs = require('fs');
const ort = require('onnxruntime-node');

async function run([net, input, output, ...extents]) {
  const session = await ort.InferenceSession.create(net);
  const bytes = fs.readFileSync(input);
  const data = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const tensor = new ort.Tensor('float32', data, extents.map(Number));
  const results = await session.run({[session.inputNames[0]]: tensor});
  const parts = session.outputNames.map((name) => {
    const values = Float32Array.from(results[name].data, Number);
    return Buffer.from(values.buffer);
  });
  fs.writeFileSync(output, Buffer.concat(parts));
}

async function main(list) {
  for (const line of fs.readFileSync(list, 'utf8').split('\n')) {
    if (line === '') continue;
    await run(line.split('\t')).catch((error) => {
      console.error(`${line}: ${error}`);
      process.exitCode = 1;
    });
  }
}

if (process.argv[2] !== '-') main(process.argv[2]);
