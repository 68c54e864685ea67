/* osteoguard review: what would open, change and close at another time or with other content. */
#ifndef OG_DAEMON_CMD_REVIEW_H
#define OG_DAEMON_CMD_REVIEW_H

int cmd_review(int argc, char **argv);

#endif
