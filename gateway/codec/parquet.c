/* Parquet, and GeoParquet 1.1 of tables with a geometry.
 *
 * DuckDB writes it (geo/sql_parquet.c says how); here are its options. Every Arrow type that a table of ours can
 * have goes in, but half floats. Cost: 200,000 rows of five plain columns take 50 ms, as DuckDB alone; the boxes
 * of a geometry are four columns more, and it takes twice as long. */
#include "moongate/codec.h"
#include "moongate/sql.h"

enum { OPT_COMPRESSION, OPT_LEVEL, OPT_ROW_GROUP };
static const struct mg_option parquet_options[] = {
    [OPT_COMPRESSION] = {"compression", MG_OPT_ENUM, 0, 0, "snappy,zstd,none", "snappy", "of the pages"},
    [OPT_LEVEL] = {"level", MG_OPT_INT, 1, 22, NULL, "3", "of zstd"},
    [OPT_ROW_GROUP] = {"row_group", MG_OPT_INT, 2048, 10000000, NULL, "122880", "rows of a row group"},
    {0},
};
static const char *const compressions[] = {"snappy", "zstd", "none"};

static enum mg_err encode_parquet(const struct mg_codec_job *job, struct mg_buf *out, struct mg_errmsg *err)
{
    const struct mg_sql_parquet options = {.compression =
                                               compressions[(int)job->options[OPT_COMPRESSION].number],
                                           .level = (int)job->options[OPT_LEVEL].number,
                                           .row_group = (int64_t)job->options[OPT_ROW_GROUP].number};
    return mg_sql_to_parquet(job->value->table, &options, out, err);
}

const struct mg_codec mg_codec_parquet[] = {
    {.name = "parquet",
     .mime = "application/vnd.apache.parquet",
     .extension = "parquet",
     .shapes = MG_SHAPE_TABLE,
     .options = parquet_options,
     .encode = encode_parquet},
    {0},
};
