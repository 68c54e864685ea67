/* osteoguard replay: files to the source topics. */
#ifndef OG_DAEMON_CMD_REPLAY_H
#define OG_DAEMON_CMD_REPLAY_H

/* Runs the command with its own arguments (argv[0] is "replay"). Exit status: 0 good, 1 a value or
 * a file could not be sent, 2 usage. */
int cmd_replay(int argc, char **argv);

/* The source topic for a resource type: the one whose last part (behind the last '.', '-', '_' or
 * '/') is the type without regard to case; else the one for bundles; else the first. type may be
 * empty (unreadable). */
const char *replay_topic(const char *const *sources, unsigned count, const char *type);

#endif
