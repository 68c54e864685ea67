/* osteoguard dead-letters: looks at what could not be used, and sends it again. */
#ifndef OG_DAEMON_CMD_LETTERS_H
#define OG_DAEMON_CMD_LETTERS_H

/* Runs the command with its own arguments (argv[0] is "dead-letters"). Exit status: 0 good, 1 the
 * brokers do not answer, or a letter is not there or could not be sent again, 2 usage. */
int cmd_letters(int argc, char **argv);

#endif
