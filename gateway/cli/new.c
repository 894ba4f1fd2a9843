/* moongate new: a working UDF folder to start from. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* NAME stands for the UDF's name. */
static const char code[] =
    "-- NAME: a grid of points over the bounds, as a table with geometry.\n"
    "--\n"
    "-- The parameters of the function are the query parameters:\n"
    "--   moongate run NAME count=3 --bounds -35,-8.1,-34.8,-7.9\n"
    "-- Save this file, and the next request runs the new code.\n"
    "local moon = require \"moon\"\n"
    "local utils = require \"utils\"\n"
    "\n"
    "--- Points on a grid.\n"
    "local function udf(bounds, count, label)\n"
    "  local points = {}\n"
    "  for i, at in ipairs(utils.grid(bounds, count)) do\n"
    "    points[i] = { label = label .. \" \" .. i, geometry = moon.point(at.lng, at.lat) }\n"
    "  end\n"
    "  return moon.table(points)\n"
    "end\n"
    "\n"
    "-- A default gives a parameter its type; moon.type gives types without one.\n"
    "return moon.udf(udf, {\n"
    "  bounds = moon.type.bounds,\n"
    "  count = moon.type.integer(5, { min = 1, max = 100, doc = \"points along each side\" }),\n"
    "  label = \"point\",\n"
    "})\n";
static const char utils[] =
    "-- Helpers of NAME: a module is a plain Lua module.\n"
    "local M = {}\n"
    "\n"
    "--- The centres of count x count cells of the bounds.\n"
    "function M.grid(bounds, count)\n"
    "  local list = {}\n"
    "  local width = (bounds.xmax - bounds.xmin) / count\n"
    "  local height = (bounds.ymax - bounds.ymin) / count\n"
    "  for row = 1, count do\n"
    "    for column = 1, count do\n"
    "      list[#list + 1] = {\n"
    "        lng = bounds.xmin + (column - 0.5) * width,\n"
    "        lat = bounds.ymin + (row - 0.5) * height,\n"
    "      }\n"
    "    end\n"
    "  end\n"
    "  return list\n"
    "end\n"
    "\n"
    "return M\n";
static const char readme[] =
    "# NAME\n"
    "\n"
    "A grid of points over the bounds.\n"
    "\n"
    "| parameter | meaning |\n"
    "|---|---|\n"
    "| bounds | xmin,ymin,xmax,ymax in degrees; on a tile call those of the tile |\n"
    "| count | points along each side, 1 to 100 |\n"
    "| label | text of each point |\n"
    "\n"
    "```\n"
    "moongate check NAME\n"
    "moongate run NAME count=3 --format csv\n"
    "moongate serve NAME\n"
    "```\n";
static const char meta[] =
    "{\n"
    "  \"version\": \"0.0.3\",\n"
    "  \"job_config\": {\n"
    "    \"version\": \"0.0.3\",\n"
    "    \"name\": \"NAME\",\n"
    "    \"metadata\": {},\n"
    "    \"steps\": [\n"
    "      {\n"
    "        \"type\": \"udf\",\n"
    "        \"udf\": {\n"
    "          \"type\": \"lua\",\n"
    "          \"name\": \"NAME\",\n"
    "          \"entrypoint\": \"udf\",\n"
    "          \"parameters\": {},\n"
    "          \"metadata\": {\n"
    "            \"fused:udfType\": \"vector_tile\",\n"
    "            \"fused:slug\": \"NAME\",\n"
    "            \"fused:name\": \"NAME\",\n"
    "            \"fused:description\": \"A grid of points over the bounds.\",\n"
    "            \"fused:defaultViewState\": {\n"
    "              \"enable\": true,\n"
    "              \"latitude\": -8.0,\n"
    "              \"longitude\": -34.9,\n"
    "              \"zoom\": 11,\n"
    "              \"pitch\": 0,\n"
    "              \"bearing\": 0\n"
    "            }\n"
    "          },\n"
    "          \"source\": \"NAME.lua\",\n"
    "          \"headers\": [{ \"module_name\": \"utils\", \"source_file\": \"utils.lua\" }]\n"
    "        }\n"
    "      }\n"
    "    ]\n"
    "  }\n"
    "}\n";
static const char usage[] = "new NAME|DIR/NAME";

static bool is_name(const char *name)
{
    size_t i = 0;
    while (isalnum((unsigned char)name[i]) || (i && name[i] == '_'))
        i++;
    return isalpha((unsigned char)*name) && !name[i] && i <= 100;
}

static void put_named(struct mg_buf *out, const char *text, const char *name)
{
    for (const char *at; (at = strstr(text, "NAME")); text = at + 4) {
        mg_buf_put(out, text, (size_t)(at - text));
        mg_buf_str(out, name);
    }
    mg_buf_str(out, text);
}

static enum mg_err write_file(int dirfd, const char *file, const char *text, const char *name, struct mg_errmsg *err)
{
    struct mg_buf bytes;
    mg_buf_init(&bytes, 0);
    put_named(&bytes, text, name);
    int fd = openat(dirfd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool whole = fd >= 0 && write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len;
    enum mg_err status = whole ? MG_OK : mg_err_set(err, MG_E_IO, "cannot write %s: %s", file, strerror(errno));
    if (fd >= 0)
        close(fd);
    mg_buf_fini(&bytes);
    return status;
}

static enum mg_err write_folder(const char *dir, const char *name, struct mg_errmsg *err)
{
    char main_file[128];
    snprintf(main_file, sizeof main_file, "%s.lua", name);
    const struct {
        const char *file, *text;
    } files[] = {{"README.md", readme}, {"utils.lua", utils}, {"meta.json", meta}, {main_file, code}};
    if (mkdir(dir, 0755) < 0)
        return errno == EEXIST
                   ? mg_err_set(err, MG_E_CONFLICT, "%s is already there: choose another name, nothing was written", dir)
                   : mg_err_set(err, MG_E_IO, "cannot make %s: %s", dir, strerror(errno));
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum mg_err status = dirfd < 0 ? mg_err_set(err, MG_E_IO, "cannot open %s: %s", dir, strerror(errno)) : MG_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files && !status; i++)
        status = write_file(dirfd, files[i].file, files[i].text, name, err);
    if (dirfd >= 0)
        close(dirfd);
    return status;
}

int mg_cmd_new(int argc, char **argv)
{
    struct mg_config config;
    struct mg_errmsg err = {""};
    if (mg_config_parse(argc, argv, &config, &err) != MG_OK)
        return mg_cli_fail(2, &err);
    if (config.help)
        return mg_cli_help(usage, "Writes a folder with README.md, NAME.lua, utils.lua and meta.json that works as it is.\n"
                                  "Never overwrites anything.\n");
    if (config.n_args != 1)
        return mg_cli_usage(usage, "one name is expected");
    const char *slash = strrchr(config.args[0], '/'), *name = slash ? slash + 1 : config.args[0];
    if (!is_name(name))
        return mg_cli_usage(usage, "\"%s\" cannot be the name of a UDF: it starts with a letter and consists of letters, "
                                   "digits and _", name);
    if (strcmp(name, "utils") == 0)
        return mg_cli_usage(usage, "the helper module is called utils: choose another name");
    if (write_folder(config.args[0], name, &err) != MG_OK)
        return mg_cli_fail(1, &err);
    if (config.json)
        mg_cli_print_json(json_pack("{ssss}", "name", name, "dir", config.args[0]));
    else
        printf("%s/ written. Next:\n  moongate run %s --format csv\n  moongate serve %s\n", config.args[0],
               config.args[0], config.args[0]);
    return 0;
}
