// Who is paid for a block: everybody by the work since the last one, less the pool's fee.
//
// The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer and divides to the
// satoshi. Money is whole numbers: no double comes near it.

#include "settings.h"

static const char SCHEMA[] =
    "{\n"
    "  \"type\": \"object\",\n"
    "  \"additionalProperties\": false,\n"
    "  \"properties\": {\n"
    "    \"fee-bps\": {\n"
    "      \"description\": \"The pool's fee in hundredths of a percent of the reward, rounded down.\",\n"
    "      \"type\": \"integer\", \"minimum\": 0, \"maximum\": 10000, \"default\": 0\n"
    "    }\n"
    "  }\n"
    "}";

typedef exports_payout_contribution_t contribution_t;
typedef exports_payout_list_contribution_t contributions_t;
typedef exports_payout_entitlement_t entitlement_t;
typedef exports_payout_list_entitlement_t entitlements_t;
// A reward times a fee, or times work, is more than 64 bits hold.
typedef unsigned __int128 wide_t;

// The settings.
static uint64_t fee_bps = 0;

// The decisions.

// The pool's own account has no name.
static bool is_house(const contribution_t *contribution) {
    return contribution->account.len == 0;
}

static void entitle(entitlements_t *answer, const policy_string_t *account, exports_payout_portion_t portion,
                    const char *reason) {
    entitlement_t *entitlement = &answer->ptr[answer->len++];
    policy_string_dup_n(&entitlement->account, (const char *)account->ptr, account->len);
    policy_string_dup(&entitlement->reason, reason);
    entitlement->portion = portion;
}

static exports_payout_portion_t weight(uint64_t weight) {
    return (exports_payout_portion_t){.tag = EXPORTS_PAYOUT_PORTION_WEIGHT, .val.weight = weight};
}

static exports_payout_portion_t fixed(uint64_t sats) {
    return (exports_payout_portion_t){.tag = EXPORTS_PAYOUT_PORTION_FIXED, .val.fixed = sats};
}

static entitlements_t settle(uint64_t reward, const contributions_t *contributions, uint64_t bps) {
    const policy_string_t house = {(uint8_t *)"", 0};
    wide_t total = 0;
    wide_t own = 0;
    // At most one for each account, and one for the house.
    entitlements_t answer = {keep(contributions->len + 1, sizeof(entitlement_t)), 0};
    for (size_t i = 0; i < contributions->len; i++) {
        const contribution_t *contribution = &contributions->ptr[i];
        total += contribution->work;
        if (is_house(contribution)) {
            own += contribution->work;
        } else if (contribution->work > 0) {
            entitle(&answer, &contribution->account, weight(contribution->work), "work in this round");
        }
    }
    if (answer.len == 0) {
        entitle(&answer, &house, weight(1), "nobody worked in this round");
        return answer;
    }
    // The house's own machines may have worked too. An account is named once only: what they earned goes with the fee.
    uint64_t fee = (uint64_t)((wide_t)reward * bps / 10000);
    uint64_t earned = (uint64_t)((reward - fee) * own / total);
    if (fee + earned > 0) entitle(&answer, &house, fixed(fee + earned), earned > 0 ? "fee and own work" : "fee");
    return answer;
}

// From here on: what the host calls. Arguments are yours to free; what is answered is freed by the bindings, so every
// text and list in it must be from malloc: policy_string_dup copies one.

void exports_lifecycle_describe(exports_lifecycle_descriptor_t *ret) {
    policy_string_dup(&ret->name, "proportional");
    policy_string_dup(&ret->version, "0.1.0");
    policy_string_dup(&ret->summary, "A block pays for the work since the last one, less the pool's fee.");
    policy_string_dup(&ret->settings_schema, SCHEMA);
    ret->memo_format = 0;
}

bool exports_lifecycle_configure(policy_string_t *text, exports_lifecycle_policy_error_t *error) {
    settings_t *settings = settings_parse(text);
    fee_bps = settings_whole(settings, "fee-bps", 0, 10000, fee_bps);
    return settings_finish(settings, error);
}

bool exports_lifecycle_self_test(exports_lifecycle_policy_error_t *error) {
    contribution_t work[] = {
        {.account = {(uint8_t *)"a", 1}, .work = 3, .shares = 1},
        {.account = {(uint8_t *)"b", 1}, .work = 1, .shares = 1},
    };
    entitlements_t answer = settle(1000049, &(contributions_t){work, 2}, 200);
    bool right = expect("how many are paid", (double)answer.len, 3, error) &&
                 expect("the weight of a", (double)answer.ptr[0].portion.val.weight, 3, error) &&
                 expect("the weight of b", (double)answer.ptr[1].portion.val.weight, 1, error) &&
                 expect("a fee of 2%", (double)answer.ptr[2].portion.val.fixed, 20000, error);
    exports_payout_list_entitlement_free(&answer);
    return right;
}

void exports_payout_describe_plan(exports_payout_plan_t *ret) {
    *ret = (exports_payout_plan_t){.window = {.tag = EXPORTS_PAYOUT_WINDOW_ROUND}};
}

bool exports_payout_settle(exports_payout_round_t *round, entitlements_t *ret, types_policy_error_t *error) {
    (void)error;
    *ret = settle(round->subsidy + round->fees, &round->contributions, fee_bps);
    exports_payout_round_free(round);
    return true;
}

bool exports_payout_accrue(exports_payout_list_tally_t *tallies, exports_payout_list_accrual_t *ret,
                           types_policy_error_t *error) {
    (void)ret;
    exports_payout_list_tally_free(tallies);
    error->tag = TYPES_POLICY_ERROR_BAD_INPUT;
    policy_string_dup(&error->val.bad_input, "a proportional scheme pays blocks, not shares as they come");
    return false;
}
