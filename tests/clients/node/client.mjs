// OpenAI's client for node asks as its users do: `node client.mjs URL KEY` prints what came of it as JSON. No test itself.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const user = (content) => ({ role: "user", content });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const calls = (message) =>
  message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);

let text = "";
const usage = [0, 0];
const stream = await client.chat.completions.create({
  model: "smol",
  messages: [user("Say hello.")],
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage[0] += chunk.usage?.prompt_tokens ?? 0;
  usage[1] += chunk.usage?.completion_tokens ?? 0;
}
const asking = { model: "smol", messages: [user("How is the weather?")], tools };
const asked = (await client.chat.completions.create(asking)).choices[0].message;
const helper = client.chat.completions.stream(asking);
const told = (await helper.finalChatCompletion()).choices[0].message;
const answered = await client.chat.completions.create({
  ...asking,
  messages: [
    ...asking.messages,
    asked,
    { role: "tool", tool_call_id: asked.tool_calls[0].id, content: "Rain in Paris." },
  ],
});
const schema = {
  type: "object",
  properties: { name: { type: "string" }, people: { type: "integer" } },
  required: ["name", "people"],
  additionalProperties: false,
};
const held = await client.chat.completions.create({
  model: "smol",
  messages: [user("Name a town.")],
  response_format: { type: "json_schema", json_schema: { name: "town", schema, strict: true } },
});
console.log(
  JSON.stringify({
    text,
    usage,
    called: calls(asked),
    called_in_a_stream: calls(told),
    after_the_call: answered.choices[0].message.content,
    held: JSON.parse(held.choices[0].message.content),
  }),
);
