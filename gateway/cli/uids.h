/* Who the processes run as: started as root, each group receives a uid of its own. */
#ifndef MOONGATE_CLI_UIDS_H
#define MOONGATE_CLI_UIDS_H

/* 0: stay who we are. `workers` is the uid of the first organisation's; the next ones follow. */
struct mg_uids {
    unsigned front, fetcher, workers;
};

/* All 0 unless we are root and an unprivileged user can reach `data_dir`: not where "/" or a folder above it is closed
 * to all but root, as in some containers. */
struct mg_uids mg_uids_choose(const char *data_dir);

#endif
