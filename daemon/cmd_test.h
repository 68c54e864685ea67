/* osteoguard test: the clinical cases of a content folder. */
#ifndef OG_DAEMON_CMD_TEST_H
#define OG_DAEMON_CMD_TEST_H

/* argv[0] is the command's name. Returns the exit status: 0 all passed, 1 a case or the content is
 * wrong, 2 usage. */
int cmd_test(int argc, char **argv);

#endif
