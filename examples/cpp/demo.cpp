// What the demonstrations of the other languages do, too.
#include "fal.hpp"

#include <iostream>

int main() {
    static const char *const states[] = {"IN_QUEUE", "IN_PROGRESS", "COMPLETED"};
    const char *app = "fal-ai/any-llm";
    fal::client c;

    auto capital = c.run(app, R"({"prompt":"What is the capital of France?"})");
    std::cout << "run: " << capital.string("/output").value_or("") << "\n";

    fal::subscribe_options s;
    s.logs = true;
    s.on_enqueue = [](std::string_view id) { std::cout << "id: " << id << "\n"; };
    s.on_queue_update = [](const fal_status &status) {
        std::cout << "state: " << states[status.state] << "\n";
        for (size_t i = status.first_new_log; i < status.log_count; i++) {
            std::cout << "log: " << status.logs[i]->message << "\n";
        }
    };
    auto meaning = c.subscribe(app, R"({"prompt":"What is the meaning of life?"})", s);
    std::cout << "subscribe: " << meaning.string("/output").value_or("") << "\n";

    fal::stream_options o;
    o.on_text = [](std::string_view so_far) { std::cout << "stream: " << so_far << "\n"; };
    c.stream(app, R"({"prompt":"Say hello."})", o);

    try {
        c.run(app, R"({"prompt":"Why?","model":"no/such"})");
    } catch (const fal::error &e) {
        std::cout << "error: " << e.http_status << " " << e.error_type << " " << e.what() << "\n";
    }
}
