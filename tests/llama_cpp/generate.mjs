// What llama.cpp makes of GGUF files: token ids of texts, and the most likely continuation.
//
//     node generate.mjs FOLDER < requests > answers
//
// FOLDER has the package node-llama-cpp in node_modules (npm install --ignore-scripts
// node-llama-cpp). A request is one line of JSON, {"model": path, "texts": [text, ...],
// "prompt": [id, ...], "count": n}; its answer one line, {"tokens": [[id, ...], ...],
// "generated": [id, ...]}. Exits with 77 when the package is not there.
import {createRequire} from "node:module";
import {createInterface} from "node:readline";
import {pathToFileURL} from "node:url";

let library;
try {
  const require = createRequire(pathToFileURL(process.argv[2] + "/"));
  library = await import(pathToFileURL(require.resolve("node-llama-cpp")));
} catch (error) {
  console.error(`skipped: ${error.message.split("\n")[0]}`);
  process.exit(77);
}

const llama = await library.getLlama({gpu: false, build: "never", logLevel: "error"});

async function answer(request) {
  const model = await llama.loadModel({modelPath: request.model});
  const tokens = request.texts.map((text) => [...model.tokenize(text, false)].map(Number));
  const generated = [];
  if (request.count > 0) {
    const context = await model.createContext({contextSize: 256});
    const sequence = context.getSequence();
    for await (const token of sequence.evaluate(request.prompt, {
      temperature: 0, yieldEogToken: true
    })) {
      generated.push(Number(token));
      if (generated.length === request.count) break;
    }
    await context.dispose();
  }
  await model.dispose();
  return {tokens, generated};
}

for await (const line of createInterface({input: process.stdin})) {
  if (line.trim() !== "") console.log(JSON.stringify(await answer(JSON.parse(line))));
}
await llama.dispose();
