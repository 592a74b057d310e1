// What every policy needs: settings that are read with care, known answers, and an end that says why.
//
//     settings_t *settings = settings_parse(text);
//     fee = settings_whole(settings, "fee-bps", 0, 10000, 0);
//     return settings_finish(settings, error);
//
// The same file in each starter, and yours from now on: change it as you like.

#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bindings/policy.h"

// A table of the settings, or one of its values. Lives as long as the instance: texts may be kept.
typedef struct settings {
    const char *name;
    enum { SETTING_NULL, SETTING_FLAG, SETTING_NUMBER, SETTING_TEXT, SETTING_LIST, SETTING_TABLE } kind;
    bool flag;
    double number;
    const char *text;
    // What is in a table or a list.
    struct settings *first;
    struct settings *next;
    struct settings *parent;
    // Names that were asked for, with ", " between them.
    char known[256];
    bool taken;
} settings_t;

// Reads the host's JSON, and frees it. What is wrong from here on is noted, and reported by settings_finish.
settings_t *settings_parse(policy_string_t *json);

bool settings_given(const settings_t *table, const char *name);
// The value of a name, or what to take where it is not given or wrong.
double settings_number(settings_t *table, const char *name, double least, double most, double otherwise);
uint64_t settings_whole(settings_t *table, const char *name, uint64_t least, uint64_t most, uint64_t otherwise);
bool settings_flag(settings_t *table, const char *name, bool otherwise);
// NULL where it is not given or wrong. `allowed` says in words what `check` accepts.
const char *settings_text(settings_t *table, const char *name, const char *allowed, bool (*check)(const char *));
// Like settings_text, and never shown.
const char *settings_secret(settings_t *table, const char *name);
// A table of tables: the first of them; the others follow by `next`, and each has its `name`. NULL where there is none.
settings_t *settings_tables(settings_t *table, const char *name);

// Notes what is wrong with a name.
void settings_problem(settings_t *table, const char *name, const char *what);
// False, with every problem in `error`, where there was one: unknown names are found here.
bool settings_finish(settings_t *settings, types_policy_error_t *error);

// For self-test: false, with both in `error`, where an answer is not the known one.
bool expect(const char *what, double answer, double wanted, types_policy_error_t *error);

// Memory that is there and zero; NULL for none.
void *keep(size_t count, size_t size);
// Ends the instance. Without the line in the log there would only be "unreachable".
_Noreturn void fail(const char *why);

#endif
