/* osteoguard check: tries configuration and content without serving. */
#ifndef OG_DAEMON_CMD_CHECK_H
#define OG_DAEMON_CMD_CHECK_H

/* argv[0] is "check". Exit status: 0 good, 1 something is wrong, 2 usage. */
int cmd_check(int argc, char **argv);

#endif
