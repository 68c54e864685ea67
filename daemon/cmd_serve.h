/* osteoguard serve: the daemon. */
#ifndef OG_DAEMON_CMD_SERVE_H
#define OG_DAEMON_CMD_SERVE_H

/* argv[0] is "serve". Exit status: 0 stopped as asked, 1 could not start or go on, 2 usage. */
int cmd_serve(int argc, char **argv);

#endif
