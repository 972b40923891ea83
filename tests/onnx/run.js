// Runs a network with ONNX Runtime:  node run.js NET.onnx INPUT OUTPUT EXTENT...
// INPUT holds float32 of the shape given; OUTPUT gets all outputs of the network, float32, one after
// the other. Needs `npm install --ignore-scripts onnxruntime-node` in this folder. INPUT "-": only
// says whether that is there.
const fs = require('fs');
const ort = require('onnxruntime-node');

async function main([net, input, output, ...extents]) {
  const session = await ort.InferenceSession.create(net);
  const bytes = fs.readFileSync(input);
  const data = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const tensor = new ort.Tensor('float32', data, extents.map(Number));
  const results = await session.run({[session.inputNames[0]]: tensor});
  const parts = session.outputNames.map((name) => {
    const values = results[name].data;
    return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  });
  fs.writeFileSync(output, Buffer.concat(parts));
}

if (process.argv[2] !== '-') {
  main(process.argv.slice(2)).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}
