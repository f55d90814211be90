/* The process that holds a pod's namespaces: it waits, reaps orphans, and ends on SIGTERM or SIGINT. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) {
    (void)signal;
    _exit(0);
}

static void reap(int signal) {
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

int main(void) {
    if (signal(SIGTERM, end) == SIG_ERR || signal(SIGINT, end) == SIG_ERR || signal(SIGCHLD, reap) == SIG_ERR)
        return 1;
    for (;;)
        pause();
}
