-- wrk's call: POST, the body from the file BENCH_BODY, "Authorization: BENCH_KEY" unless empty,
-- and BENCH_HEADERS, one "Name: value" on each line.
-- Ends with one line: RESULT requests seconds errors p50_ms p99_ms
local file = assert(io.open(os.getenv("BENCH_BODY")))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
local key = os.getenv("BENCH_KEY") or ""
if key ~= "" then wrk.headers["Authorization"] = key end
for name, value in (os.getenv("BENCH_HEADERS") or ""):gmatch("([^:\n]+): ([^\n]+)") do
   wrk.headers[name] = value
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format("RESULT %d %.6f %d %.4f %.4f\n", summary.requests, summary.duration / 1e6,
      e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
