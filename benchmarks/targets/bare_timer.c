/* How late this machine wakes a process: a timerfd, absolute times, and nothing else.
 *
 * bare_timer RATE SECONDS SEED: prints how late it was at each of its Poisson arrivals, in ns.
 * Priority and timer slack are those of the load generator (load/pacing.py).
 */
#define _GNU_SOURCE
#include <math.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>

#define NS 1000000000LL

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS + t.tv_nsec;
}

int main(int count, char **words) {
    if (count != 4) return 2;
    double rate = atof(words[1]), at = 0;
    int size = (int)(rate * atof(words[2]));
    unsigned short seed[3] = {1, 2, (unsigned short)atoi(words[3])};
    int64_t *due = malloc(size * sizeof *due), *late = malloc(size * sizeof *late);
    for (int i = 0; i < size; i++) {
        at += -log(1 - erand48(seed)) / rate;
        due[i] = (int64_t)(at * NS);
        late[i] = 0; /* so that its page is there */
    }
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    struct sched_param priority = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &priority); /* where the system allows it */
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event);
    int64_t start = now() + NS / 20;
    for (int i = 0; i < size;) {
        int64_t next = start + due[i];
        struct itimerspec when = {.it_value = {next / NS, next % NS}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        epoll_wait(poll, &event, 1, -1);
        for (int64_t time = now() - start; i < size && due[i] <= time; i++) late[i] = time - due[i];
    }
    for (int i = 0; i < size; i++) printf("%lld\n", (long long)late[i]);
    return 0;
}
