// What difficulty a miner works at: as many shares a minute as the settings say.
//
// The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer.

#include "settings.h"

#include <math.h>

static const char SCHEMA[] =
    "{\n"
    "  \"type\": \"object\",\n"
    "  \"additionalProperties\": false,\n"
    "  \"properties\": {\n"
    "    \"shares-per-minute\": {\n"
    "      \"description\": \"How often a miner finds a share.\",\n"
    "      \"type\": \"number\", \"minimum\": 0.1, \"maximum\": 600, \"default\": 18\n"
    "    }\n"
    "  }\n"
    "}";

// Hashes that a share of difficulty 1 takes.
static const double HASHES = 4294967296.0;
// Where a miner starts of which nothing is known.
static const double START = 1024;
// The rate may be off by this factor until the difficulty is changed: shares come by chance.
static const double TOLERANCE = 1.5;
// The furthest that one decision goes.
static const double STEP_UP = 16;
static const double STEP_DOWN = 1.0 / 4;
// A rate is judged after the time in which so many shares are expected, or after REVIEW_SHARES of them: the fewer there
// are, the less they say.
static const double EXPECTED_SHARES = 3;
// When to look again, whichever comes first; later where shares are expected seldom.
static const uint32_t REVIEW_MS = 60000;
static const uint32_t REVIEW_SHARES = 30;

typedef exports_vardiff_channel_t channel_t;
typedef exports_vardiff_option_difficulty_t option_difficulty_t;
typedef exports_vardiff_opening_t opening_t;
typedef exports_vardiff_review_t review_t;
typedef exports_vardiff_decision_t decision_t;

// The settings.
static double shares_per_minute = 18;

// The decisions.

static double patience_ms(double target) { return ceil(EXPECTED_SHARES * 60000 / target); }

static decision_t decide(double difficulty, const channel_t *channel, option_difficulty_t suggested, double target) {
    double floor = channel->floor;
    // What an SV2 miner suggests is a bound.
    if (channel->client.protocol == TYPES_PROTOCOL_STRATUM_V2 && suggested.is_some) floor = fmax(floor, suggested.val);
    return (decision_t){
        .difficulty = fmax(fmin(difficulty, channel->ceiling), floor),
        .review_after_ms = (uint32_t)fmax(REVIEW_MS, patience_ms(target)),
        .review_after_shares = REVIEW_SHARES,
        // The memo is handed in with the next review of the channel: up to 256 bytes, the only memory there is.
        .memo = {NULL, 0},
    };
}

static decision_t start(const opening_t *opening) {
    bool wishes = opening->channel.client.protocol == TYPES_PROTOCOL_STRATUM_V1;
    double difficulty = START;
    if (wishes && opening->suggested.is_some && opening->suggested.val > 0) {
        difficulty = opening->suggested.val;
    } else if (opening->nominal_hashrate.is_some && opening->nominal_hashrate.val > 0) {
        difficulty = opening->nominal_hashrate.val * 60 / HASHES / shares_per_minute;
    } else if (opening->start.is_some) {
        difficulty = opening->start.val;
    }
    return decide(difficulty, &opening->channel, opening->suggested, shares_per_minute);
}

static double factor(const review_t *review, double target) {
    if (review->accepted < REVIEW_SHARES && review->elapsed_ms < patience_ms(target)) return 1;
    if (review->accepted == 0) return 0.5;
    double minutes = fmax((double)review->elapsed_ms, 1) / 60000;
    double ratio = review->accepted / minutes / target;
    bool settled = ratio >= 1 / TOLERANCE && ratio <= TOLERANCE;
    return settled ? 1 : fmin(fmax(ratio, STEP_DOWN), STEP_UP);
}

static decision_t review(const review_t *review, double target) {
    return decide(review->current * factor(review, target), &review->channel, review->suggested, target);
}

// From here on: what the host calls. Arguments are yours to free; what is answered is freed by the bindings, so every
// text and list in it must be from malloc: policy_string_dup copies one.

void exports_lifecycle_describe(exports_lifecycle_descriptor_t *ret) {
    policy_string_dup(&ret->name, "simple-vardiff");
    policy_string_dup(&ret->version, "0.1.0");
    policy_string_dup(&ret->summary, "Difficulty by the rate of shares since the last look.");
    policy_string_dup(&ret->settings_schema, SCHEMA);
    ret->memo_format = 0;
}

bool exports_lifecycle_configure(policy_string_t *text, exports_lifecycle_policy_error_t *error) {
    settings_t *settings = settings_parse(text);
    shares_per_minute = settings_number(settings, "shares-per-minute", 0.1, 600, shares_per_minute);
    return settings_finish(settings, error);
}

bool exports_lifecycle_self_test(exports_lifecycle_policy_error_t *error) {
    review_t minute = {.channel = {.floor = 1, .ceiling = 1e12}, .current = 1024, .elapsed_ms = 60000, .accepted = 18};
    review_t fast = minute;
    review_t silent = minute;
    fast.accepted = 72;
    silent.accepted = 0;
    return expect("a minute on target", review(&minute, 18).difficulty, 1024, error) &&
           expect("four times too fast", review(&fast, 18).difficulty, 4096, error) &&
           expect("silence", review(&silent, 18).difficulty, 512, error);
}

bool exports_vardiff_open(opening_t *opening, decision_t *ret, types_policy_error_t *error) {
    (void)error;
    *ret = start(opening);
    exports_vardiff_opening_free(opening);
    return true;
}

bool exports_vardiff_review_all(exports_vardiff_list_review_t *reviews, exports_vardiff_list_decision_t *ret,
                                types_policy_error_t *error) {
    (void)error;
    ret->len = reviews->len;
    ret->ptr = keep(reviews->len, sizeof *ret->ptr);
    for (size_t i = 0; i < reviews->len; i++) ret->ptr[i] = review(&reviews->ptr[i], shares_per_minute);
    exports_vardiff_list_review_free(reviews);
    return true;
}
