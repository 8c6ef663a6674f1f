// SPDX-FileCopyrightText: 2026 The srkd_ros authors
// SPDX-License-Identifier: Apache-2.0

// Loops over the threads that torch already has: a second pool would fight with them for the cores.

#pragma once

#include <cstdint>

// libgomp's entry for a parallel region: function, its argument, number of threads, flags.
using Region = void (*)(void (*)(void *), void *, unsigned, unsigned);

extern Region parallel_region;  // of the libgomp that torch has loaded; null: one thread

// Calls body(i) for i in [0, count), in no order, on up to `threads` threads.
template <class Body>
void parallel_for(int64_t count, int threads, const Body &body) {
    struct Shared {
        const Body *body;
        int64_t count, next;
    } shared = {&body, count, 0};
    auto work = [](void *data) {
        auto *all = static_cast<Shared *>(data);
        for (;;) {
            const int64_t i = __atomic_fetch_add(&all->next, int64_t(1), __ATOMIC_RELAXED);
            if (i >= all->count) return;
            (*all->body)(i);
        }
    };
    // Always with the same number: a smaller team would end threads, and torch's next one start them again.
    if (threads > 1 && count > 1 && parallel_region) parallel_region(work, &shared, unsigned(threads), 0);
    else work(&shared);
}
