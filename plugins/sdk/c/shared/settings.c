#include "settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// How deep tables and lists may lie in each other.
#define DEPTH 16
// The host takes error texts of up to 1024 bytes.
static char problems[1000];

// Appends text as far as there is room, printable ASCII only: the host refuses anything else.
static void append(char *text, size_t room, const char *more) {
    size_t length = strlen(text);
    for (; *more != '\0' && length + 1 < room; more++) {
        text[length++] = *more >= ' ' && *more <= '~' ? *more : '_';
    }
    text[length] = '\0';
}

// Reading JSON. `at` stands on the byte to be read; the text ends with a NUL, which no JSON holds outside its strings.

typedef struct {
    char *at;
    bool broken;
} reader_t;

static settings_t *read_value(reader_t *reader, settings_t *parent, int depth);

static void skip_space(reader_t *reader) {
    reader->at += strspn(reader->at, " \t\r\n");
}

static bool skip(reader_t *reader, const char *word) {
    size_t length = strlen(word);
    bool found = strncmp(reader->at, word, length) == 0;
    reader->at += found ? length : 0;
    return found;
}

// Four hex digits, or -1.
static int32_t read_unit(reader_t *reader) {
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = *reader->at == '\0' ? NULL : strchr(digits, *reader->at);
        if (digit == NULL) return -1;
        unit = unit * 16 + (int32_t)((digit - digits) % 16);
        reader->at++;
    }
    return unit;
}

// What follows "\u", as UTF-8. NULL where it is no character, or the NUL that would end the text.
static char *read_escape(reader_t *reader, char *out) {
    int32_t c = read_unit(reader);
    if (c >= 0xd800 && c < 0xdc00) {
        int32_t low = skip(reader, "\\u") ? read_unit(reader) : -1;
        if (low < 0xdc00 || low > 0xdfff) return NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c <= 0 || (c >= 0xdc00 && c <= 0xdfff)) return NULL;
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const int32_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(lead[more] | c >> (6 * more));
    while (more-- > 0) *out++ = (char)(0x80 | (c >> (6 * more) & 0x3f));
    return out;
}

// Decodes where it stands: what is decoded is never longer. NULL where it is no string.
static char *read_string(reader_t *reader) {
    if (!skip(reader, "\"")) return NULL;
    char *text = reader->at;
    char *out = text;
    while (*reader->at != '"') {
        // The NUL at the end among them: nothing reads on beyond it.
        if ((unsigned char)*reader->at < ' ') return NULL;
        char c = *reader->at++;
        if (c != '\\') {
            *out++ = c;
        } else if (skip(reader, "u")) {
            out = read_escape(reader, out);
            if (out == NULL) return NULL;
        } else {
            static const char names[] = "\"\\/bfnrt";
            static const char meant[] = "\"\\/\b\f\n\r\t";
            const char *name = *reader->at == '\0' ? NULL : strchr(names, *reader->at);
            if (name == NULL) return NULL;
            *out++ = meant[name - names];
            reader->at++;
        }
    }
    reader->at++;
    *out = '\0';
    return text;
}

static double read_number(reader_t *reader) {
    size_t length = strspn(reader->at, "+-.0123456789eE");
    char *end = reader->at;
    double number = strtod(reader->at, &end);
    // strtod also knows "inf", "nan" and hexadecimal numbers.
    if (length == 0 || end != reader->at + length) reader->broken = true;
    reader->at += length;
    return number;
}

static void read_items(reader_t *reader, settings_t *parent, const char *end, int depth) {
    settings_t **last = &parent->first;
    skip_space(reader);
    if (skip(reader, end)) return;
    do {
        char *name = NULL;
        skip_space(reader);
        if (parent->kind == SETTING_TABLE) {
            name = read_string(reader);
            skip_space(reader);
            if (name == NULL || !skip(reader, ":")) {
                reader->broken = true;
                return;
            }
        }
        *last = read_value(reader, parent, depth - 1);
        (*last)->name = name;
        last = &(*last)->next;
        skip_space(reader);
    } while (!reader->broken && skip(reader, ","));
    if (!skip(reader, end)) reader->broken = true;
}

static settings_t *read_value(reader_t *reader, settings_t *parent, int depth) {
    settings_t *value = keep(1, sizeof *value);
    value->parent = parent;
    skip_space(reader);
    if (depth == 0) {
        reader->broken = true;
    } else if (skip(reader, "{")) {
        value->kind = SETTING_TABLE;
        read_items(reader, value, "}", depth);
    } else if (skip(reader, "[")) {
        value->kind = SETTING_LIST;
        read_items(reader, value, "]", depth);
    } else if (*reader->at == '"') {
        value->kind = SETTING_TEXT;
        value->text = read_string(reader);
        reader->broken |= value->text == NULL;
    } else if (skip(reader, "true")) {
        value->kind = SETTING_FLAG;
        value->flag = true;
    } else if (skip(reader, "false")) {
        value->kind = SETTING_FLAG;
    } else if (!skip(reader, "null")) {
        value->kind = SETTING_NUMBER;
        value->number = read_number(reader);
    }
    return value;
}

settings_t *settings_parse(policy_string_t *json) {
    char *text = keep(json->len + 1, 1);
    memcpy(text, json->ptr, json->len);
    reader_t reader = {text, false};
    policy_string_free(json);
    problems[0] = '\0';
    settings_t *settings = read_value(&reader, NULL, DEPTH);
    skip_space(&reader);
    if (reader.broken || *reader.at != '\0' || settings->kind != SETTING_TABLE) {
        append(problems, sizeof problems, "the settings are not a JSON object");
        *settings = (settings_t){.kind = SETTING_TABLE};
    }
    return settings;
}

// Taking settings.

static void append_path(const settings_t *table) {
    if (table->parent != NULL) {
        append_path(table->parent);
        append(problems, sizeof problems, table->name);
        append(problems, sizeof problems, ".");
    }
}

void settings_problem(settings_t *table, const char *name, const char *what) {
    if (problems[0] != '\0') append(problems, sizeof problems, "; ");
    append_path(table);
    append(problems, sizeof problems, name);
    append(problems, sizeof problems, ": ");
    append(problems, sizeof problems, what);
}

// What was given, in short. Never what is inside a list or a table: it may be a password.
static void show(const settings_t *value, char *text, size_t room) {
    static const char *const kinds[] = {"null", "a flag", "a number", "a text", "a list", "a table"};
    switch (value->kind) {
    case SETTING_FLAG: snprintf(text, room, "%s", value->flag ? "true" : "false"); break;
    case SETTING_NUMBER: snprintf(text, room, "%g", value->number); break;
    case SETTING_TEXT: snprintf(text, room, "\"%.40s\"", value->text); break;
    default: snprintf(text, room, "%s", kinds[value->kind]);
    }
}

static void refuse(settings_t *table, const settings_t *value, const char *allowed) {
    char given[64];
    char what[200];
    show(value, given, sizeof given);
    snprintf(what, sizeof what, "%s is not %s", given, allowed);
    settings_problem(table, value->name, what);
}

static settings_t *take(settings_t *table, const char *name) {
    if (table->known[0] != '\0') append(table->known, sizeof table->known, ", ");
    append(table->known, sizeof table->known, name);
    for (settings_t *value = table->first; value != NULL; value = value->next) {
        if (!value->taken && strcmp(value->name, name) == 0) {
            value->taken = true;
            return value;
        }
    }
    return NULL;
}

bool settings_given(const settings_t *table, const char *name) {
    for (const settings_t *value = table->first; value != NULL; value = value->next) {
        if (strcmp(value->name, name) == 0) return true;
    }
    return false;
}

double settings_number(settings_t *table, const char *name, double least, double most, double otherwise) {
    settings_t *value = take(table, name);
    if (value == NULL) return otherwise;
    if (value->kind == SETTING_NUMBER && value->number >= least && value->number <= most) return value->number;
    char allowed[80];
    snprintf(allowed, sizeof allowed, "a number from %g to %g", least, most);
    refuse(table, value, allowed);
    return otherwise;
}

uint64_t settings_whole(settings_t *table, const char *name, uint64_t least, uint64_t most, uint64_t otherwise) {
    settings_t *value = take(table, name);
    if (value == NULL) return otherwise;
    // Below 2^53, as all numbers of the contract, so that the conversions are exact.
    if (value->kind == SETTING_NUMBER && value->number >= (double)least && value->number <= (double)most &&
        value->number == (double)(uint64_t)value->number) {
        return (uint64_t)value->number;
    }
    char allowed[80];
    snprintf(allowed, sizeof allowed, "a whole number from %" PRIu64 " to %" PRIu64, least, most);
    refuse(table, value, allowed);
    return otherwise;
}

bool settings_flag(settings_t *table, const char *name, bool otherwise) {
    settings_t *value = take(table, name);
    if (value == NULL) return otherwise;
    if (value->kind == SETTING_FLAG) return value->flag;
    refuse(table, value, "true or false");
    return otherwise;
}

const char *settings_text(settings_t *table, const char *name, const char *allowed, bool (*check)(const char *)) {
    settings_t *value = take(table, name);
    if (value == NULL) return NULL;
    if (value->kind == SETTING_TEXT && check(value->text)) return value->text;
    refuse(table, value, allowed);
    return NULL;
}

const char *settings_secret(settings_t *table, const char *name) {
    settings_t *value = take(table, name);
    if (value == NULL) return NULL;
    if (value->kind == SETTING_TEXT) return value->text;
    settings_problem(table, name, "what is given is not a text");
    return NULL;
}

settings_t *settings_tables(settings_t *table, const char *name) {
    settings_t *value = take(table, name);
    if (value == NULL) return NULL;
    if (value->kind != SETTING_TABLE) {
        refuse(table, value, "a table");
        return NULL;
    }
    bool tables = true;
    for (settings_t *inner = value->first; inner != NULL; inner = inner->next) {
        if (inner->kind == SETTING_TABLE) continue;
        refuse(value, inner, "a table");
        tables = false;
    }
    return tables ? value->first : NULL;
}

// Whoever asked for nothing in a table has not looked at it.
static void find_unknown(settings_t *table) {
    for (settings_t *value = table->first; value != NULL; value = value->next) {
        if (table->kind == SETTING_TABLE && table->known[0] != '\0' && !value->taken) {
            char what[300];
            snprintf(what, sizeof what, "no such setting; there are: %s", table->known);
            settings_problem(table, value->name, what);
        } else {
            find_unknown(value);
        }
    }
}

bool settings_finish(settings_t *settings, types_policy_error_t *error) {
    find_unknown(settings);
    if (problems[0] == '\0') return true;
    error->tag = TYPES_POLICY_ERROR_BAD_SETTINGS;
    policy_string_dup(&error->val.bad_settings, problems);
    return false;
}

// The rest.

bool expect(const char *what, double answer, double wanted, types_policy_error_t *error) {
    if (answer == wanted) return true;
    char text[200];
    snprintf(text, sizeof text, "%s: %.17g instead of %.17g", what, answer, wanted);
    error->tag = TYPES_POLICY_ERROR_INTERNAL;
    policy_string_dup(&error->val.internal, text);
    return false;
}

void *keep(size_t count, size_t size) {
    // The bindings do not free an empty list.
    if (count == 0) return NULL;
    void *memory = calloc(count, size);
    if (memory == NULL) fail("out of memory");
    return memory;
}

void fail(const char *why) {
    policy_string_t text;
    policy_string_set(&text, why);
    log_write(LOG_LEVEL_ERROR, &text);
    abort();
}
