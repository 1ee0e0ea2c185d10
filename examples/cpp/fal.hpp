// libfal for C++17: handles that free themselves, exceptions, callbacks that may hold state and throw.
//
//     fal::client c;                                           // credentials: $FAL_KEY
//     std::cout << *c.run("fal-ai/any-llm", R"({"prompt":"Why?"})").string("/output");
//
// A client is for one thread at a time, but for cancel().
#ifndef FAL_HPP
#define FAL_HPP

#include <fal.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fal {

// What went wrong. what() is one line for people.
class error : public std::runtime_error {
public:
    explicit error(const fal_error &e)
        : std::runtime_error(e.message), code(e.code), http_status(e.http_status),
          error_type(e.error_type), request_id(e.request_id), retryable(e.retryable) {
        if (e.retry_after_s >= 0) retry_after_s = e.retry_after_s;
    }
    explicit error(fal_code c) : std::runtime_error(fal_strerror(c)), code(c) {}

    fal_code code;
    int http_status = 0;
    std::string error_type, request_id;
    bool retryable = false;
    std::optional<double> retry_after_s;
};

class result {
public:
    explicit result(fal_result *r) : r_(r) {}

    // The answer's JSON, empty when there is none. Lives as long as this result.
    std::string_view json() const { return view(fal_result_json(r_.get())); }
    // The string at a JSON Pointer.
    std::optional<std::string_view> string(const char *pointer) const {
        const char *s = fal_result_string(r_.get(), pointer);
        return s != nullptr ? std::optional<std::string_view>(s) : std::nullopt;
    }
    std::string_view request_id() const { return fal_result_request_id(r_.get()); }
    const fal_status *status() const { return fal_result_status(r_.get()); }
    const fal_result *get() const { return r_.get(); }

private:
    struct free_result {
        void operator()(fal_result *r) const { fal_result_free(r); }
    };
    static std::string_view view(const char *s) { return s != nullptr ? s : std::string_view(); }
    std::unique_ptr<fal_result, free_result> r_;
};

using milliseconds = std::chrono::milliseconds; // 0: no limit

struct subscribe_options {
    milliseconds timeout{0};
    bool logs = false;
    std::function<void(std::string_view request_id)> on_enqueue;
    std::function<void(const fal_status &)> on_queue_update;
};

struct stream_options {
    milliseconds timeout{0};
    std::function<void(std::string_view event_json)> on_event;
    std::function<void(std::string_view so_far)> on_text;
    std::function<void(std::string_view added, bool restart)> on_delta;
};

class client {
public:
    client() : client(fal_options(FAL_OPTIONS_INIT)) {}
    explicit client(const fal_options &options) {
        fal_client *c = nullptr;
        fal_code code = fal_client_new(&options, &c);
        if (code != FAL_OK) throw error(code);
        c_.reset(c);
    }

    result run(const char *endpoint, const char *input_json, milliseconds timeout = {}) {
        fal_call_options o = FAL_CALL_OPTIONS_INIT;
        o.timeout_ms = timeout.count();
        return take([&](fal_result **r) { return fal_run(c_.get(), endpoint, input_json, &o, r); });
    }

    result subscribe(const char *endpoint, const char *input_json,
                     const subscribe_options &options = {}) {
        catcher caught(c_.get());
        context<subscribe_options> in{options, caught};
        fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
        o.timeout_ms = options.timeout.count();
        o.logs = options.logs;
        o.user = &in;
        if (options.on_enqueue) {
            o.on_enqueue = [](const char *id, void *user) {
                auto &x = of<subscribe_options>(user);
                x.caught.run([&] { x.options.on_enqueue(id); });
            };
        }
        if (options.on_queue_update) {
            o.on_queue_update = [](const fal_status *s, void *user) {
                auto &x = of<subscribe_options>(user);
                x.caught.run([&] { x.options.on_queue_update(*s); });
            };
        }
        return take(
            [&](fal_result **r) { return fal_subscribe(c_.get(), endpoint, input_json, &o, r); },
            &caught);
    }

    result stream(const char *endpoint, const char *input_json, const stream_options &options) {
        catcher caught(c_.get());
        context<stream_options> in{options, caught};
        fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
        o.timeout_ms = options.timeout.count();
        o.user = &in;
        if (options.on_event) {
            o.on_event = [](const char *event, void *user) {
                auto &x = of<stream_options>(user);
                x.caught.run([&] { x.options.on_event(event); });
            };
        }
        if (options.on_text) {
            o.on_text = [](const char *text, void *user) {
                auto &x = of<stream_options>(user);
                x.caught.run([&] { x.options.on_text(text); });
            };
        }
        if (options.on_delta) {
            o.on_delta = [](const char *delta, size_t bytes, bool restart, void *user) {
                auto &x = of<stream_options>(user);
                x.caught.run([&] { x.options.on_delta({delta, bytes}, restart); });
            };
        }
        return take(
            [&](fal_result **r) { return fal_stream(c_.get(), endpoint, input_json, &o, r); },
            &caught);
    }

    result submit(const char *endpoint, const char *input_json) {
        return take([&](fal_result **r) {
            return fal_queue_submit(c_.get(), endpoint, input_json, nullptr, r);
        });
    }
    result status(const char *endpoint, const char *id) {
        return take(
            [&](fal_result **r) { return fal_queue_status(c_.get(), endpoint, id, nullptr, r); });
    }
    result output(const char *endpoint, const char *id) {
        return take(
            [&](fal_result **r) { return fal_queue_result(c_.get(), endpoint, id, nullptr, r); });
    }
    result cancel(const char *endpoint, const char *id) {
        return take(
            [&](fal_result **r) { return fal_queue_cancel(c_.get(), endpoint, id, nullptr, r); });
    }

    // Ends the call that runs, from any thread.
    void cancel() { fal_client_cancel(c_.get()); }
    fal_client *get() const { return c_.get(); }

private:
    // C must not see an exception: the first one cancels the call and is thrown after it.
    class catcher {
    public:
        explicit catcher(fal_client *c) : c_(c) {}
        template <class F> void run(F f) noexcept {
            if (what_) return;
            try {
                f();
            } catch (...) {
                what_ = std::current_exception();
                fal_client_cancel(c_);
            }
        }
        void rethrow() const {
            if (what_) std::rethrow_exception(what_);
        }

    private:
        fal_client *c_;
        std::exception_ptr what_;
    };
    template <class O> struct context {
        const O &options;
        catcher &caught;
    };
    template <class O> static context<O> &of(void *user) {
        return *static_cast<context<O> *>(user);
    }

    template <class F> static result take(F call, const catcher *caught = nullptr) {
        fal_result *r = nullptr;
        fal_code code = call(&r);
        result out(r);
        if (caught != nullptr) caught->rethrow();
        if (code != FAL_OK) throw error(*fal_result_error(r));
        return out;
    }

    struct free_client {
        void operator()(fal_client *c) const { fal_client_free(c); }
    };
    std::unique_ptr<fal_client, free_client> c_;
};

} // namespace fal

#endif
