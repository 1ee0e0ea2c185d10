-- What the demonstrations of the other languages do, too.
package.path = (arg[0]:match("^(.*/)") or "./") .. "?.lua;" .. package.path

local fal = require("fal").new()
local app = "fal-ai/any-llm"

print("run: " .. fal:run(app, [[{"prompt":"What is the capital of France?"}]]):string("/output"))

local answer = fal:subscribe(app, [[{"prompt":"What is the meaning of life?"}]], {
    logs = true,
    on_enqueue = function(id) print("id: " .. id) end,
    on_queue_update = function(status)
        print("state: " .. status.state)
        for _, line in ipairs(status.new_logs) do
            print("log: " .. line)
        end
    end,
})
print("subscribe: " .. answer:string("/output"))

fal:stream(app, [[{"prompt":"Say hello."}]], function(so_far) print("stream: " .. so_far) end)

local ok, e = pcall(fal.run, fal, app, [[{"prompt":"Why?","model":"no/such"}]])
if not ok then
    print(("error: %d %s %s"):format(e.http_status, e.error_type, e.message))
end
