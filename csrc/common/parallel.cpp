#include "common/parallel.hpp"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace bitspike {

namespace {

// About a tenth of a millisecond: the pause between two kernels of a training step. Longer would take the processor from
// others, shorter would put workers to sleep between kernels, and waking one costs as much as a small kernel.
constexpr int kSpins = 4000;

inline void pause() {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_pause();
#endif
}

// Workers sleep on a condition variable after a short spin; a fork leaves the child with a pool of its own.
class Pool {
  public:
    void run(int parts, const std::function<void(int)>& body) {
        std::lock_guard<std::mutex> one_caller(callers_);
        grow(parts - 1);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            body_ = &body;
            parts_ = parts;
            next_.store(0);
            pending_.store(parts);
            ++round_;
            published_.store(round_);
        }
        wake_.notify_all();
        work();
        const auto done = [&] { return pending_.load() == 0 && active_.load() == 0; };
        for (int spin = 0; spin < kSpins && !done(); ++spin) pause();
        std::exception_ptr error;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            done_.wait(lock, done);
            body_ = nullptr;
            std::swap(error, error_);
        }
        if (error) std::rethrow_exception(error);
    }

  private:
    void grow(int workers) {
        if (static_cast<int>(threads_.size()) >= workers) return;
        try {
            while (static_cast<int>(threads_.size()) < workers) threads_.emplace_back([this] { loop(); });
        } catch (const std::system_error&) {  // no memory for a stack, say: those that are there do the work
        }
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [&] { return started_ == threads_.size(); });
    }

    // Gets a thread the memory of its thread-local data, this module's and that of exceptions. It would come with their
    // first use, and the loader ends the process where there is none left.
    void start() {
        [[maybe_unused]] static thread_local volatile bool touched;
        touched = true;
        try {
            throw 0;
        } catch (int) {
        }
        std::lock_guard<std::mutex> lock(mutex_);
        ++started_;
        done_.notify_all();
    }

    void work() {
        for (;;) {
            const int part = next_.fetch_add(1);
            if (part >= parts_) return;
            try {
                (*body_)(part);
            } catch (...) {  // out of memory, say: in a worker it would end the process
                std::lock_guard<std::mutex> lock(mutex_);
                if (!error_) error_ = std::current_exception();
            }
            if (pending_.fetch_sub(1) == 1) {
                std::lock_guard<std::mutex> lock(mutex_);
                done_.notify_all();
            }
        }
    }

    void loop() {
        start();
        unsigned long seen = 0;
        for (;;) {
            for (int spin = 0; spin < kSpins && published_.load(std::memory_order_relaxed) == seen; ++spin) pause();
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return round_ != seen; });
                seen = round_;
                if (body_ == nullptr) continue;
                ++active_;
            }
            work();
            {
                std::lock_guard<std::mutex> lock(mutex_);
                --active_;
                done_.notify_all();
            }
        }
    }

    std::mutex callers_, mutex_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> threads_;
    std::size_t started_ = 0;
    const std::function<void(int)>* body_ = nullptr;
    std::exception_ptr error_;  // the first of a round
    int parts_ = 0;
    unsigned long round_ = 0;
    std::atomic<unsigned long> published_{0};
    std::atomic<int> next_{0}, pending_{0}, active_{0};
};

// Never destroyed: its workers sleep until the process ends, and joining them at exit could hang.
std::atomic<Pool*> pool{nullptr};
std::mutex pool_birth;

Pool& the_pool() {
    if (Pool* there = pool.load()) return *there;
    std::lock_guard<std::mutex> lock(pool_birth);
    if (pool.load() == nullptr) {
#if !defined(_WIN32)
        static bool registered = false;
        if (!registered) {
            pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr); });
            registered = true;
        }
#endif
        pool.store(new Pool);
    }
    return *pool.load();
}

}  // namespace

void parallel(int parts, const std::function<void(int)>& body) {
    if (parts <= 1) {
        if (parts == 1) body(0);
        return;
    }
    the_pool().run(parts, body);
}

}  // namespace bitspike
