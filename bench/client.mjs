// As client_c.c, with @fal-ai/client: client.mjs CALLS CONNECTIONS; the package is found from WIRE, the tests' folder.
import { createRequire } from "node:module";
const { createFalClient } = createRequire(`${process.env.WIRE}/`)("@fal-ai/client");

const base = process.env.FAL_BASE_URL;
const [calls, atOnce] = process.argv.slice(2).map(Number);
const rewrite = (url) => url.replace("https://fal.run", `${base}/run`);
const fal = createFalClient({
  credentials: process.env.FAL_KEY,
  requestMiddleware: async (r) => ({ ...r, url: rewrite(r.url) }),
});
const input = { model: "openai/gpt-4o-mini", prompt: "What is the meaning of life?" };
let failed = 0;

async function one() {
  const { data } = await fal.run("fal-ai/any-llm", { input });
  if (typeof data.output !== "string") failed++;
}

await one();
console.log("answered");
if (calls > 0) {
  const cpu = process.cpuUsage();
  const began = performance.now();
  let left = calls;
  const worker = async () => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  console.log(`per_second=${(calls / seconds).toFixed(0)} cpu_us=${((user + system) / calls).toFixed(1)} rss_kb=${process.resourceUsage().maxRSS} failed=${failed}`);
}
process.exit(failed ? 1 : 0);
