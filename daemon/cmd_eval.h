/* osteoguard eval: rules on files, one JSON line per patient. */
#ifndef OG_DAEMON_CMD_EVAL_H
#define OG_DAEMON_CMD_EVAL_H

/* argv[0] is the command's name. Returns the exit status: 0 good, 1 an input or a rule was in
 * error, 2 usage. */
int cmd_eval(int argc, char **argv);

#endif
