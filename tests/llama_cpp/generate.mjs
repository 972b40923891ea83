// What llama.cpp makes of GGUF files: token ids of texts, the most likely continuation, and the
// probabilities behind each token of the prompt.
//
//     node generate.mjs < requests > answers
//
// Needs `make clients`. A request is one line of JSON, {"model": path, "texts": [text, ...],
// "prompt": [id, ...], "count": n, "likely": m}; its answer one line, {"tokens": [[id, ...], ...],
// "generated": [id, ...], "likely": [[[id, probability], m times] for each of the prompt]}.
import {getLlama} from "node-llama-cpp";
import {createInterface} from "node:readline";

const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});

// The `count` most likely tokens behind each of the prompt.
async function likely(model, prompt, count) {
  const context = await model.createContext({contextSize: 256, threads: 1});
  const items = prompt.map((token) => [token, {generateNext: {probabilities: true}}]);
  const outputs = await context.getSequence().controlledEvaluate(items);
  await context.dispose();
  return outputs.map(({next}) =>
    [...next.probabilities].slice(0, count).map(([token, p]) => [Number(token), p]));
}

async function answer(request) {
  const model = await llama.loadModel({modelPath: request.model});
  const tokens = request.texts.map((text) => [...model.tokenize(text, false)].map(Number));
  const generated = [];
  if (request.count > 0) {
    const context = await model.createContext({contextSize: 256, threads: 1});
    const sequence = context.getSequence();
    for await (const token of sequence.evaluate(request.prompt, {
      temperature: 0, yieldEogToken: true
    })) {
      generated.push(Number(token));
      if (generated.length === request.count) break;
    }
    await context.dispose();
  }
  const probabilities = request.likely > 0
    ? await likely(model, request.prompt, request.likely) : [];
  await model.dispose();
  return {tokens, generated, likely: probabilities};
}

for await (const line of createInterface({input: process.stdin})) {
  if (line.trim() !== "") console.log(JSON.stringify(await answer(JSON.parse(line))));
}
await llama.dispose();
