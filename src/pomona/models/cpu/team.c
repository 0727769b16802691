/* A team of threads for short work: products of 20 us to 1 ms.
 *
 * Work is cut into pieces that whoever is free takes. The caller takes pieces too and never waits for a thread that has taken none, so
 * on a busy machine a thread that is not scheduled costs nothing. Idle threads watch for WATCH_NS, as long as the gap between
 * two products of one layer, and then sleep. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#define PAUSE __builtin_ia32_pause()
#else
#define PAUSE atomic_thread_fence(memory_order_seq_cst)
#endif

enum { MOST_THREADS = 64, WATCH_NS = 20000 };
typedef void (*piece_function)(void *job, int piece);

static struct {
    /* The job's number in the upper half, pieces that nobody has taken in the lower. */
    _Alignas(64) _Atomic uint64_t open;
    _Alignas(64) _Atomic int unfinished;
    piece_function function;
    void *job;
    pthread_mutex_t one_job, sleep;
    pthread_cond_t wake;
    int sleepers, members, wanted;
} team = {.one_job = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Do a piece of the present job, if there is one. */
static int take_piece(void) {
    uint64_t open = atomic_load_explicit(&team.open, memory_order_acquire);
    while ((uint32_t)open) {
        if (!atomic_compare_exchange_weak_explicit(&team.open, &open, open - 1, memory_order_acq_rel, memory_order_acquire)) continue;
        team.function(team.job, (int)((uint32_t)open - 1));
        atomic_fetch_sub_explicit(&team.unfinished, 1, memory_order_release);
        return 1;
    }
    return 0;
}

static void *be_member(void *nothing) {
    (void)nothing;
    for (;;) {
        int64_t until = nanoseconds() + WATCH_NS;
        while (nanoseconds() < until) {
            while (take_piece()) until = nanoseconds() + WATCH_NS;
            for (int i = 0; i < 32; i++) PAUSE;
        }
        pthread_mutex_lock(&team.sleep);
        team.sleepers++;
        while (!(uint32_t)atomic_load_explicit(&team.open, memory_order_seq_cst)) pthread_cond_wait(&team.wake, &team.sleep);
        team.sleepers--;
        pthread_mutex_unlock(&team.sleep);
    }
    return 0;
}

/* After a fork the child has no members: it works alone. */
static void forget_members(void) {
    team.members = team.wanted = team.sleepers = 0;
    pthread_mutex_init(&team.one_job, 0);
    pthread_mutex_init(&team.sleep, 0);
    pthread_cond_init(&team.wake, 0);
}

static void enlarge_team(void) {
    static int asked;
    if (!asked) asked = !pthread_atfork(0, 0, forget_members);
    while (team.members < team.wanted) {
        pthread_t thread;
        if (pthread_create(&thread, 0, be_member, 0)) {
            team.wanted = team.members;
            return;
        }
        pthread_detach(thread);
        team.members++;
    }
}

/* Do all pieces, 0 to pieces - 1 in any order, with `threads` threads if nobody else has the team. */
static void work_together(piece_function function, void *job, int pieces, int threads) {
    if (threads < 2 || pieces < 2 || pthread_mutex_trylock(&team.one_job)) {
        for (int piece = 0; piece < pieces; piece++) function(job, piece);
        return;
    }
    team.wanted = threads - 1 < MOST_THREADS ? threads - 1 : MOST_THREADS;
    enlarge_team();
    team.function = function, team.job = job;
    atomic_store_explicit(&team.unfinished, pieces, memory_order_relaxed);
    uint64_t number = (atomic_load_explicit(&team.open, memory_order_relaxed) >> 32) + 1;
    atomic_store_explicit(&team.open, number << 32 | (uint32_t)pieces, memory_order_seq_cst);
    pthread_mutex_lock(&team.sleep);
    int sleepers = team.sleepers;
    pthread_mutex_unlock(&team.sleep);
    if (sleepers) pthread_cond_broadcast(&team.wake);
    while (take_piece()) {}
    for (int spins = 0; atomic_load_explicit(&team.unfinished, memory_order_acquire) > 0; spins++)
        if (spins < 1000) PAUSE;
        else sched_yield();
    pthread_mutex_unlock(&team.one_job);
}
