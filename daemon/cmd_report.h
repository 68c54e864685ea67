/* osteoguard report: what became of the alerts of each rule. */
#ifndef OG_DAEMON_CMD_REPORT_H
#define OG_DAEMON_CMD_REPORT_H

/* Runs the command with its own arguments (argv[0] is "report"). Exit status: 0 good, 1 the brokers
 * do not answer, 2 usage. */
int cmd_report(int argc, char **argv);

#endif
