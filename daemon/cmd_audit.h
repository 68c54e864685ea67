/* `osteoguard audit verify FILE`: says whether an audit log is as it was written. */
#ifndef OG_DAEMON_CMD_AUDIT_H
#define OG_DAEMON_CMD_AUDIT_H

int cmd_audit(int argc, char **argv); /* exit status */

#endif
