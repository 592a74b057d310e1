// Who a login is: accounts, addresses and passwords from the settings.
//
// The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer.

#include "settings.h"

#include <ctype.h>
#include <string.h>

static const char SCHEMA[] =
    "{\n"
    "  \"type\": \"object\",\n"
    "  \"additionalProperties\": false,\n"
    "  \"properties\": {\n"
    "    \"accounts\": {\n"
    "      \"description\": \"A table for each account, by name. A login is ACCOUNT or ACCOUNT.WORKER.\",\n"
    "      \"type\": \"object\",\n"
    "      \"propertyNames\": { \"pattern\": \"^[^.\\\"'\\\\\\\\<>&]{1,128}$\" },\n"
    "      \"additionalProperties\": {\n"
    "        \"type\": \"object\",\n"
    "        \"additionalProperties\": false,\n"
    "        \"required\": [\"address\"],\n"
    "        \"properties\": {\n"
    "          \"address\": {\n"
    "            \"description\": \"Where it is paid.\", \"type\": \"string\", \"pattern\": \"^[0-9A-Za-z]{1,90}$\"\n"
    "          },\n"
    "          \"password\": { \"description\": \"Without one any password will do.\", \"type\": \"string\" },\n"
    "          \"minimum-difficulty\": { \"type\": \"number\", \"minimum\": 0.001, \"maximum\": 1e18 }\n"
    "        }\n"
    "      }\n"
    "    },\n"
    "    \"open\": {\n"
    "      \"description\": \"Let in who is not in the book, without an address.\",\n"
    "      \"type\": \"boolean\", \"default\": false\n"
    "    }\n"
    "  }\n"
    "}";

// The longest name and the longest address, in bytes.
enum { NAME_LIMIT = 128, ADDRESS_LIMIT = 90 };

typedef struct account {
    const char *name;
    // Checked by the host against the pool's network.
    const char *address;
    // NULL: any password will do.
    const char *password;
    // 0: none.
    double minimum_difficulty;
    struct account *next;
} account_t;

// A piece of the username.
typedef struct {
    const char *at;
    size_t length;
} piece_t;

// The settings.
static account_t *accounts = NULL;
static bool lets_strangers_in = false;

// The decisions.

static bool is_name_character(char c) {
    return c >= ' ' && c <= '~' && strchr("\"'\\<>&", c) == NULL;
}

static bool is_account(piece_t name) {
    if (name.length == 0 || name.length > NAME_LIMIT) return false;
    for (size_t i = 0; i < name.length; i++) {
        if (!is_name_character(name.at[i]) || name.at[i] == '.') return false;
    }
    return name.at[0] != ' ' && name.at[name.length - 1] != ' ';
}

static bool is_address(const char *text) {
    size_t length = 0;
    while (isalnum((unsigned char)text[length])) length++;
    return length > 0 && length <= ADDRESS_LIMIT && text[length] == '\0';
}

static bool equal(piece_t piece, const char *text) {
    return strlen(text) == piece.length && memcmp(text, piece.at, piece.length) == 0;
}

static piece_t trimmed(const policy_string_t *text) {
    piece_t piece = {(const char *)text->ptr, text->len};
    while (piece.length > 0 && piece.at[0] == ' ') piece.at++, piece.length--;
    while (piece.length > 0 && piece.at[piece.length - 1] == ' ') piece.length--;
    return piece;
}

static const account_t *find(piece_t name) {
    for (const account_t *account = accounts; account != NULL; account = account->next) {
        if (equal(name, account->name)) return account;
    }
    return NULL;
}

static bool opens(const account_t *account, const policy_option_string_t *password) {
    if (account->password == NULL) return true;
    return password->is_some && equal((piece_t){(const char *)password->val.ptr, password->val.len}, account->password);
}

static bool refuse(exports_auth_refusal_t *refusal, uint8_t tag, const char *why) {
    refusal->tag = tag;
    policy_string_dup(&refusal->val.unknown_user, why);
    return false;
}

static bool authorize(const exports_auth_login_t *login, exports_auth_grant_t *grant, exports_auth_refusal_t *refusal) {
    piece_t name = trimmed(&login->username);
    piece_t worker = {"", 0};
    const char *dot = name.length > 0 ? memchr(name.at, '.', name.length) : NULL;
    if (dot != NULL) {
        worker = (piece_t){dot + 1, name.length - (size_t)(dot + 1 - name.at)};
        name.length = (size_t)(dot - name.at);
    }
    const account_t *account = find(name);
    if (account == NULL && !(lets_strangers_in && is_account(name))) {
        return refuse(refusal, EXPORTS_AUTH_REFUSAL_UNKNOWN_USER, "no such account here");
    }
    if (account != NULL && !opens(account, &login->password)) {
        return refuse(refusal, EXPORTS_AUTH_REFUSAL_WRONG_PASSWORD, "wrong password");
    }
    *grant = (exports_auth_grant_t){0};
    policy_string_dup_n(&grant->account, name.at, name.length);
    // A miner must not be refused for its worker's name: what is not allowed becomes '_', what is too long is cut.
    policy_string_dup_n(&grant->worker, worker.at, worker.length < NAME_LIMIT ? worker.length : NAME_LIMIT);
    for (size_t i = 0; i < grant->worker.len; i++) {
        if (!is_name_character((char)grant->worker.ptr[i])) grant->worker.ptr[i] = '_';
    }
    if (account != NULL) {
        grant->payout_address.is_some = true;
        policy_string_dup(&grant->payout_address.val, account->address);
        grant->minimum_difficulty.is_some = account->minimum_difficulty > 0;
        grant->minimum_difficulty.val = account->minimum_difficulty;
    }
    return true;
}

// From here on: what the host calls. Arguments are yours to free; what is answered is freed by the bindings, so every
// text and list in it must be from malloc: policy_string_dup copies one.

void exports_lifecycle_describe(exports_lifecycle_descriptor_t *ret) {
    policy_string_dup(&ret->name, "address-book");
    policy_string_dup(&ret->version, "0.1.0");
    policy_string_dup(&ret->summary,
                      "Logins from an address book: ACCOUNT[.WORKER], an address and perhaps a password for each.");
    policy_string_dup(&ret->settings_schema, SCHEMA);
    ret->memo_format = 0;
}

bool exports_lifecycle_configure(policy_string_t *text, exports_lifecycle_policy_error_t *error) {
    settings_t *settings = settings_parse(text);
    lets_strangers_in = settings_flag(settings, "open", false);
    settings_t *table = settings_tables(settings, "accounts");
    for (; table != NULL; table = table->next) {
        account_t *account = keep(1, sizeof *account);
        account->name = table->name;
        account->address = settings_text(table, "address", "a Bitcoin address", is_address);
        account->password = settings_secret(table, "password");
        account->minimum_difficulty = settings_number(table, "minimum-difficulty", 0.001, 1e18, 0);
        account->next = accounts;
        accounts = account;
        if (!settings_given(table, "address")) {
            settings_problem(table, "address", "missing; a Bitcoin address is expected");
        }
        if (!is_account((piece_t){table->name, strlen(table->name)})) {
            settings_problem(table->parent, table->name,
                             "a name is 1 to 128 printable characters without . \" ' \\ < > &");
        }
    }
    return settings_finish(settings, error);
}

bool exports_lifecycle_self_test(exports_lifecycle_policy_error_t *error) {
    const account_t account = {.name = "a", .address = "x", .password = "p"};
    const policy_option_string_t right = {true, {(uint8_t *)"p", 1}};
    const policy_option_string_t wrong = {true, {(uint8_t *)"q", 1}};
    return expect("the right password", opens(&account, &right), true, error) &&
           expect("a wrong password", opens(&account, &wrong), false, error) &&
           expect("a name", is_account((piece_t){"alice", 5}), true, error) &&
           expect("a name with a dot", is_account((piece_t){"a.b", 3}), false, error);
}

bool exports_auth_authorize(exports_auth_login_t *login, exports_auth_grant_t *ret, exports_auth_refusal_t *error) {
    bool granted = authorize(login, ret, error);
    exports_auth_login_free(login);
    return granted;
}
