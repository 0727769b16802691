// Vercel's AI SDK with OpenAI's and Anthropic's providers: a stream, a tool that is called, a structured answer.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [url, name] = process.argv.slice(2);
const settings = { temperature: 0, maxOutputTokens: 120 };
const city = z.object({ name: z.string().max(20), people: z.number().int().min(0).max(9999999) });

async function exercise(model) {
  const stream = [];
  for await (const piece of streamText({ model, ...settings, prompt: "Hello! Who are you?" }).textStream) stream.push(piece);
  const called = [];
  const weather = tool({
    description: "Get the current weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      called.push(city);
      return `It is sunny in ${city}, 21 degrees.`;
    },
  });
  const prompt = "What is the weather in Paris?";
  const said = await generateText({ model, ...settings, tools: { get_weather: weather }, prompt, stopWhen: stepCountIs(2) });
  const structured = await generateObject({ model, ...settings, schema: city, prompt: "Paris has two million people." });
  return { stream, called, said: said.text, structured: structured.object };
}

const chat = createOpenAICompatible({ name: "pomona", baseURL: `${url}/v1`, apiKey: "none", supportsStructuredOutputs: true });
const messages = createAnthropic({ baseURL: `${url}/v1`, apiKey: "none" });
console.log(JSON.stringify({ chat: await exercise(chat(name)), messages: await exercise(messages(name)) }));
