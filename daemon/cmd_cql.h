/* osteoguard cql: evaluates one CQL library (as ELM) on one patient's data. */
#ifndef OG_DAEMON_CMD_CQL_H
#define OG_DAEMON_CMD_CQL_H

/* argv[0] is the command's name. Returns the exit status: 0 good, 1 the library, the data or an
 * expression was in error, 2 usage. */
int cmd_cql(int argc, char **argv);

#endif
