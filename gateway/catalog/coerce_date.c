/* Dates: ISO 8601-1:2019, extended format, to one spelling.
 *
 * A date stays a date. A date with a time becomes UTC with seconds: no zone counts as UTC, so that a key does not
 * hang on the machine's zone. Days by the civil calendar (proleptic Gregorian), as in H. Hinnant, "chrono-Compatible
 * Low-Level Date Algorithms". */
#include "coerce.h"

#include <stdio.h>

struct reader {
    const char *at, *end;
    bool failed;
};

static int digits(struct reader *in, int n)
{
    int value = 0;
    for (int i = 0; i < n; i++) {
        if (in->at == in->end || *in->at < '0' || *in->at > '9') {
            in->failed = true;
            return 0;
        }
        value = value * 10 + (*in->at++ - '0');
    }
    return value;
}

static bool next_is(struct reader *in, char c)
{
    if (in->at == in->end || *in->at != c)
        return false;
    in->at++;
    return true;
}

static void need(struct reader *in, char c)
{
    if (!next_is(in, c))
        in->failed = true;
}

static int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01. */
static int64_t days_of(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_of(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = yoe + era * 400 + (*month <= 2);
}

/* hh:mm[:ss[.fraction]][Z|±hh[[:]mm]]; the offset in seconds. */
static int64_t read_time(struct reader *in, char fraction[16])
{
    int hour = digits(in, 2), minute = 0, second = 0, n = 0;
    need(in, ':');
    minute = digits(in, 2);
    if (next_is(in, ':')) {
        second = digits(in, 2);
        if (next_is(in, '.') || next_is(in, ',')) {
            fraction[n++] = '.';
            const char *start = in->at;
            while (in->at < in->end && *in->at >= '0' && *in->at <= '9' && in->at - start < 9)
                fraction[n++] = *in->at++;
            if (in->at == start)
                in->failed = true;
            while (n && (fraction[n - 1] == '0' || fraction[n - 1] == '.'))
                n--;
        }
    }
    fraction[n] = 0;
    if (hour > 23 || minute > 59 || second > 59)
        in->failed = true;
    int64_t offset = 0;
    if (in->at < in->end && !next_is(in, 'Z') && !next_is(in, 'z')) {
        /* A '+' that was not escaped in a query comes as a blank. */
        int sign = next_is(in, '-') ? -1 : 1;
        if (sign > 0 && !next_is(in, '+'))
            need(in, ' ');
        int hours = digits(in, 2), minutes = 0;
        if (in->at < in->end) {
            next_is(in, ':');
            minutes = digits(in, 2);
        }
        if (hours > 18 || minutes > 59)
            in->failed = true;
        offset = sign * (hours * 3600 + minutes * 60);
    }
    return hour * 3600 + minute * 60 + second - offset;
}

bool coerce_date(struct mg_span text, char out[COERCE_DATE_MAX])
{
    struct reader in = {text.data, text.data + text.len, false};
    int year = digits(&in, 4), month, day;
    need(&in, '-');
    month = digits(&in, 2);
    need(&in, '-');
    day = digits(&in, 2);
    if (in.failed || year < 1 || month < 1 || month > 12 || day < 1 || day > month_days(year, month))
        return false;
    if (in.at == in.end) {
        snprintf(out, COERCE_DATE_MAX, "%04d-%02d-%02d", year, month, day);
        return true;
    }
    char fraction[16];
    if (!next_is(&in, 'T') && !next_is(&in, 't'))
        need(&in, ' ');
    int64_t seconds = read_time(&in, fraction);
    if (in.failed || in.at != in.end)
        return false;
    seconds += days_of(year, month, day) * 86400;
    int64_t days = (seconds >= 0 ? seconds : seconds - 86399) / 86400, full;
    seconds -= days * 86400;
    civil_of(days, &full, &month, &day);
    if (full < 1 || full > 9999)
        return false;
    int s = (int)seconds;
    snprintf(out, COERCE_DATE_MAX, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", (int)full, month, day, s / 3600, s / 60 % 60,
             s % 60, fraction);
    return true;
}
