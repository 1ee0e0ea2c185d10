-- libfal for LuaJIT, through its ffi: run, subscribe, stream. JSON stays text here; take the JSON library you like.
--
-- Wants fal_cdef.h in the current folder (../cdef.sh /usr/include/fal.h >fal_cdef.h), or where FAL_CDEF says, and the
-- shared library where the system finds it, or where FAL_LIBRARY says.
--
--     local fal = require("fal").new()                -- credentials: $FAL_KEY
--     local r = fal:run("fal-ai/any-llm", [[{"prompt":"Why?"}]])
--     print(r:string("/output"), r:json())
--
-- What goes wrong is raised with error(): a table with code, http_status, error_type, message, request_id, retryable.

local ffi = require("ffi")

local header = assert(io.open(os.getenv("FAL_CDEF") or "fal_cdef.h"))
ffi.cdef(header:read("*a"))
header:close()
local lib = ffi.load(os.getenv("FAL_LIBRARY") or "libfal.so.0")

local STATES = { [0] = "IN_QUEUE", "IN_PROGRESS", "COMPLETED" }

local function text(pointer)
    return pointer ~= nil and ffi.string(pointer) or nil
end

-- ---- Results and errors ----

local Result = {}
Result.__index = Result

function Result:json()
    return text(lib.fal_result_json(self.handle))
end

function Result:string(pointer)
    return text(lib.fal_result_string(self.handle, pointer))
end

function Result:request_id()
    return text(lib.fal_result_request_id(self.handle))
end

local Error = { __tostring = function(e) return e.message end }

local function finish(code, handle)
    handle = ffi.gc(handle, lib.fal_result_free)
    if code == lib.FAL_OK then
        return setmetatable({ handle = handle }, Result)
    end
    local e = lib.fal_result_error(handle)
    error(setmetatable({
        code = tonumber(code), http_status = e.http_status, error_type = text(e.error_type), message = text(e.message),
        request_id = text(e.request_id), retryable = e.retryable,
    }, Error), 0)
end

-- ---- The client ----

local Client = {}
Client.__index = Client

local function options(kind)
    local o = ffi.new("struct fal_" .. kind)
    o.size = ffi.sizeof(o)
    return o
end

-- options: credentials, base_url
local function new(given)
    local o, client = options("options"), ffi.new("fal_client *[1]")
    o.credentials, o.base_url = given and given.credentials, given and given.base_url
    local code = lib.fal_client_new(o, client)
    if code ~= lib.FAL_OK then
        error(setmetatable({ code = tonumber(code), message = text(lib.fal_strerror(code)) }, Error), 0)
    end
    return setmetatable({ handle = ffi.gc(client[0], lib.fal_client_free) }, Client)
end

-- Calls `start` with a place for the result. Callbacks are C's for that time only: there are few of them. What one raises
-- ends the call and is raised here. Code that calls back into Lua must not be compiled.
local function call(client, o, callbacks, start)
    local made, raised = {}, nil
    for name, f in pairs(callbacks) do
        made[name] = ffi.cast(ffi.typeof(o[name]), function(...)
            local ok, why = pcall(f, ...)
            if not ok then
                raised = raised or { why }
                lib.fal_client_cancel(client.handle)
            end
        end)
        o[name] = made[name]
    end
    local result = ffi.new("fal_result *[1]")
    local code = start(result)
    for _, callback in pairs(made) do
        callback:free()
    end
    if raised then
        lib.fal_result_free(result[0])
        error(raised[1], 0)
    end
    return finish(code, result[0])
end
jit.off(call)

function Client:run(endpoint, input, timeout_s)
    local o = options("call_options")
    o.timeout_ms = (timeout_s or 0) * 1000
    return call(self, o, {}, function(result)
        return lib.fal_run(self.handle, endpoint, input, o, result)
    end)
end

-- given: logs, timeout_s, on_enqueue(id), on_queue_update(status: state, queue_position, new_logs)
function Client:subscribe(endpoint, input, given)
    given = given or {}
    local o, callbacks = options("subscribe_options"), {}
    o.logs, o.timeout_ms = given.logs or false, (given.timeout_s or 0) * 1000
    if given.on_enqueue then
        callbacks.on_enqueue = function(id) given.on_enqueue(text(id)) end
    end
    if given.on_queue_update then
        callbacks.on_queue_update = function(s)
            local logs = {}
            for i = tonumber(s.first_new_log), tonumber(s.log_count) - 1 do
                logs[#logs + 1] = text(s.logs[i].message)
            end
            given.on_queue_update({ state = STATES[tonumber(s.state)], queue_position = tonumber(s.queue_position), new_logs = logs })
        end
    end
    return call(self, o, callbacks, function(result)
        return lib.fal_subscribe(self.handle, endpoint, input, o, result)
    end)
end

-- on_text(all of the answer so far) for each event.
function Client:stream(endpoint, input, on_text, timeout_s)
    local o = options("stream_options")
    o.timeout_ms = (timeout_s or 0) * 1000
    return call(self, o, { on_text = function(so_far) on_text(text(so_far)) end }, function(result)
        return lib.fal_stream(self.handle, endpoint, input, o, result)
    end)
end

jit.off(true, true) -- the functions above call back into Lua

return { new = new }
