-- wrk's status polls: BENCH_IDS is a file of request ids, BENCH_PATH what stands before one, BENCH_KEY the Authorization.
-- Ends as call.lua does.
local ids = {}
for line in io.lines(os.getenv("BENCH_IDS")) do ids[#ids + 1] = line end
local path = os.getenv("BENCH_PATH")
wrk.headers["Authorization"] = os.getenv("BENCH_KEY")

function request()
   return wrk.format("GET", path .. ids[math.random(#ids)] .. "/status")
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format("RESULT %d %.6f %d %.4f %.4f\n", summary.requests, summary.duration / 1e6,
      e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
