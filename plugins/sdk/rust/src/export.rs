//! The glue between a policy and the component model: bindings generated from the WIT files, and the conversions between
//! their records and ours. Nothing here decides anything.
//!
//! The macros expand in the plugin's own crate, because that is where the bindings' exports must be. They are empty
//! unless the target is wasm32, so a plugin's native tests need no bindings.

/// Exports an [`crate::auth::AuthPolicy`] as a component of the world `auth-policy`. The second argument is the
/// directory of the WIT files, relative to the plugin's manifest.
#[macro_export]
macro_rules! export_auth {
    ($policy:ty, $wit:literal) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, unreachable_pub, clippy::all, reason = "generated bindings")]
        mod bindings {
            wit_bindgen::generate!({ path: $wit, world: "auth-policy" });
            $crate::export_lifecycle!($policy);
            $crate::convert_client!();
            $crate::convert_auth!();
            export!(Component);

            impl wire::Guest for Component {
                fn authorize(login: wire::Login) -> Result<wire::Grant, wire::Refusal> {
                    let policy = policy().map_err(|_| wire::Refusal::TryLater("not configured".into()))?;
                    sdk::AuthPolicy::authorize(policy, &from_wire(login)).map(grant).map_err(refusal)
                }
            }
        }
    };
}

/// Exports an [`crate::auth::AuthLookupPolicy`] as a component of the world `auth-policy-lookup`: it loads only where the
/// operator grants it a URL. The second argument is as in [`crate::export_auth`].
#[macro_export]
macro_rules! export_auth_lookup {
    ($policy:ty, $wit:literal) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, unreachable_pub, clippy::all, reason = "generated bindings")]
        mod bindings {
            wit_bindgen::generate!({ path: $wit, world: "auth-policy-lookup" });
            $crate::export_lifecycle!($policy);
            $crate::convert_client!();
            $crate::convert_auth!();
            export!(Component);

            use sluice::policy::lookup as asked;

            impl wire::Guest for Component {
                fn authorize(login: wire::Login) -> Result<wire::Grant, wire::Refusal> {
                    let policy = policy().map_err(|_| wire::Refusal::TryLater("not configured".into()))?;
                    let answer = sdk::AuthLookupPolicy::authorize(policy, &from_wire(login), &Host);
                    answer.map(grant).map_err(refusal)
                }
            }

            /// Looks up what is asked through the host.
            struct Host;

            impl $crate::lookup::Lookup for Host {
                fn fetch(
                    &self,
                    request: &$crate::lookup::Request,
                ) -> Result<$crate::lookup::Answer, $crate::lookup::Failure> {
                    let request = asked::Request {
                        url: request.url.clone(),
                        body: request.body.clone(),
                        content_type: request.content_type.clone(),
                    };
                    match asked::fetch(&request) {
                        Ok(asked::Answer { status, body, stale }) => {
                            Ok($crate::lookup::Answer { status, body, stale })
                        }
                        Err(asked::Failure::Denied(why)) => Err($crate::lookup::Failure::Denied(why)),
                        Err(asked::Failure::Unavailable(why)) => Err($crate::lookup::Failure::Unavailable(why)),
                    }
                }
            }
        }
    };
}

/// Logins, grants and refusals from the bindings to ours and back. Used by the macros above.
#[doc(hidden)]
#[macro_export]
macro_rules! convert_auth {
    () => {
        use exports::sluice::policy::auth as wire;
        use $crate::auth as sdk;

        fn from_wire(login: wire::Login) -> sdk::Login {
            let wire::Login { username, password, client: from } = login;
            sdk::Login { username, password, client: client(from) }
        }

        fn grant(grant: sdk::Grant) -> wire::Grant {
            wire::Grant {
                account: grant.account,
                worker: grant.worker,
                payout_address: grant.payout_address,
                start_difficulty: grant.start_difficulty,
                minimum_difficulty: grant.minimum_difficulty,
                maximum_difficulty: grant.maximum_difficulty,
            }
        }

        fn refusal(refusal: sdk::Refusal) -> wire::Refusal {
            match refusal {
                sdk::Refusal::UnknownUser(text) => wire::Refusal::UnknownUser(text),
                sdk::Refusal::WrongPassword(text) => wire::Refusal::WrongPassword(text),
                sdk::Refusal::Forbidden(text) => wire::Refusal::Forbidden(text),
                sdk::Refusal::TryLater(text) => wire::Refusal::TryLater(text),
            }
        }
    };
}

/// Exports a [`crate::vardiff::VardiffPolicy`] as a component of the world `vardiff-policy`.
#[macro_export]
macro_rules! export_vardiff {
    ($policy:ty, $wit:literal) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, unreachable_pub, clippy::all, reason = "generated bindings")]
        mod bindings {
            wit_bindgen::generate!({ path: $wit, world: "vardiff-policy" });
            $crate::export_lifecycle!($policy);
            $crate::convert_client!();
            export!(Component);

            use exports::sluice::policy::vardiff as wire;
            use $crate::vardiff as sdk;

            impl wire::Guest for Component {
                fn open(opening: wire::Opening) -> Result<wire::Decision, types::PolicyError> {
                    let opening = sdk::Opening {
                        channel: channel(opening.channel),
                        now: opening.now,
                        start: opening.start,
                        suggested: opening.suggested,
                        nominal_hashrate: opening.nominal_hashrate,
                    };
                    sdk::VardiffPolicy::open(policy()?, &opening).map(decision).map_err(policy_error)
                }

                fn review_all(reviews: Vec<wire::Review>) -> Result<Vec<wire::Decision>, types::PolicyError> {
                    let policy = policy()?;
                    let decide = |from| sdk::VardiffPolicy::review(policy, &review(from)).map(decision);
                    reviews.into_iter().map(decide).collect::<Result<_, _>>().map_err(policy_error)
                }
            }

            fn channel(channel: wire::Channel) -> sdk::Channel {
                sdk::Channel {
                    account: channel.account,
                    worker: channel.worker,
                    client: client(channel.client),
                    password: channel.password,
                    floor: channel.floor,
                    ceiling: channel.ceiling,
                }
            }

            fn review(review: wire::Review) -> sdk::Review {
                sdk::Review {
                    channel: channel(review.channel),
                    now: review.now,
                    current: review.current,
                    elapsed_ms: review.elapsed_ms,
                    accepted: review.accepted,
                    rejected: review.rejected,
                    work: review.work,
                    suggested: review.suggested,
                    nominal_hashrate: review.nominal_hashrate,
                    memo: review.memo,
                }
            }

            fn decision(decision: sdk::Decision) -> wire::Decision {
                wire::Decision {
                    difficulty: decision.difficulty,
                    review_after_ms: decision.review_after_ms,
                    review_after_shares: decision.review_after_shares,
                    memo: decision.memo,
                }
            }
        }
    };
}

/// Exports a [`crate::payout::PayoutPolicy`] as a component of the world `payout-policy`.
#[macro_export]
macro_rules! export_payout {
    ($policy:ty, $wit:literal) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, unreachable_pub, clippy::all, reason = "generated bindings")]
        mod bindings {
            wit_bindgen::generate!({ path: $wit, world: "payout-policy" });
            $crate::export_lifecycle!($policy);
            export!(Component);

            use exports::sluice::policy::payout as wire;
            use $crate::payout as sdk;

            type Answer = Result<Vec<wire::Entitlement>, types::PolicyError>;

            impl wire::Guest for Component {
                fn describe_plan() -> wire::Plan {
                    let plan = sdk::PayoutPolicy::plan(policy().expect("configure is called before describe-plan"));
                    wire::Plan {
                        window: window(plan.window),
                        per_finder: plan.per_finder,
                        accrues: plan.accrues,
                        pays_balances: plan.pays_balances,
                    }
                }

                fn settle(round: wire::Round) -> Answer {
                    let round = sdk::Round {
                        found: round.found,
                        height: round.height,
                        at: round.at,
                        subsidy: round.subsidy,
                        fees: round.fees,
                        network_difficulty: round.network_difficulty,
                        finder: round.finder,
                        work_unit: round.work_unit,
                        contributions: contributions(round.contributions),
                    };
                    sdk::PayoutPolicy::settle(policy()?, &round).map(entitlements).map_err(policy_error)
                }

                fn accrue(tallies: Vec<wire::Tally>) -> Result<Vec<wire::Accrual>, types::PolicyError> {
                    let tallies: Vec<sdk::Tally> = tallies.into_iter().map(tally).collect();
                    sdk::PayoutPolicy::accrue(policy()?, &tallies).map(accruals).map_err(policy_error)
                }
            }

            fn window(window: sdk::Window) -> wire::Window {
                match window {
                    sdk::Window::Round => wire::Window::Round,
                    sdk::Window::Work(times) => wire::Window::Work(times),
                    sdk::Window::DurationMs(ms) => wire::Window::DurationMs(ms),
                    sdk::Window::None => wire::Window::None,
                }
            }

            fn tally(tally: wire::Tally) -> sdk::Tally {
                sdk::Tally {
                    height: tally.height,
                    subsidy: tally.subsidy,
                    fees: tally.fees,
                    network_difficulty: tally.network_difficulty,
                    work_unit: tally.work_unit,
                    contributions: contributions(tally.contributions),
                }
            }

            fn contributions(list: Vec<wire::Contribution>) -> Vec<sdk::Contribution> {
                let convert = |c: wire::Contribution| sdk::Contribution {
                    account: c.account,
                    work: c.work,
                    shares: c.shares,
                };
                list.into_iter().map(convert).collect()
            }

            fn accruals(list: Vec<sdk::Accrual>) -> Vec<wire::Accrual> {
                let convert = |a: sdk::Accrual| wire::Accrual {
                    sats: a.microsats / sdk::MICROSATS,
                    // Below a million.
                    microsats: (a.microsats % sdk::MICROSATS) as u32,
                    account: a.account,
                    reason: a.reason,
                };
                list.into_iter().map(convert).collect()
            }

            fn entitlements(list: Vec<sdk::Entitlement>) -> Vec<wire::Entitlement> {
                let convert = |e: sdk::Entitlement| wire::Entitlement {
                    account: e.account,
                    portion: match e.portion {
                        sdk::Portion::Weight(weight) => wire::Portion::Weight(weight),
                        sdk::Portion::Fixed(sats) => wire::Portion::Fixed(sats),
                    },
                    reason: e.reason,
                };
                list.into_iter().map(convert).collect()
            }
        }
    };
}

/// The interface `lifecycle`, and the instance's policy. Used by the macros above.
#[doc(hidden)]
#[macro_export]
macro_rules! export_lifecycle {
    ($policy:ty) => {
        use exports::sluice::policy::lifecycle;
        use sluice::policy::{log, types};

        struct Component;

        /// One instance serves one configuration.
        static POLICY: std::sync::OnceLock<$policy> = std::sync::OnceLock::new();

        fn policy() -> Result<&'static $policy, types::PolicyError> {
            POLICY.get().ok_or_else(|| types::PolicyError::Internal("not configured".into()))
        }

        /// Without this, a panic is a bare "unreachable" to the operator.
        fn log_panics() {
            std::panic::set_hook(Box::new(|panic| log::write(log::Level::Error, &panic.to_string())));
        }

        #[allow(dead_code, reason = "auth has no policy-error")]
        fn policy_error(error: $crate::PolicyError) -> types::PolicyError {
            match error {
                $crate::PolicyError::BadInput(text) => types::PolicyError::BadInput(text),
                $crate::PolicyError::Internal(text) => types::PolicyError::Internal(text),
            }
        }

        impl lifecycle::Guest for Component {
            fn describe() -> lifecycle::Descriptor {
                let it = <$policy as $crate::Policy>::DESCRIPTOR;
                lifecycle::Descriptor {
                    name: it.name.into(),
                    version: it.version.into(),
                    summary: it.summary.into(),
                    settings_schema: it.settings_schema.into(),
                    memo_format: it.memo_format,
                }
            }

            fn configure(settings: String) -> Result<(), types::PolicyError> {
                log_panics();
                let policy = $crate::configure(&settings).map_err(types::PolicyError::BadSettings)?;
                POLICY.set(policy).map_err(|_| types::PolicyError::Internal("configured twice".into()))
            }

            fn self_test() -> Result<(), types::PolicyError> {
                $crate::Policy::self_test(policy()?).map_err(types::PolicyError::Internal)
            }
        }
    };
}

/// `client` from the bindings to ours. Used by the macros above.
#[doc(hidden)]
#[macro_export]
macro_rules! convert_client {
    () => {
        fn client(client: types::Client) -> $crate::Client {
            $crate::Client {
                protocol: match client.protocol {
                    types::Protocol::StratumV1 => $crate::Protocol::StratumV1,
                    types::Protocol::StratumV2 => $crate::Protocol::StratumV2,
                },
                listener: client.listener,
                address: client.address,
                agent: client.agent,
                hardware: client.hardware,
            }
        }
    };
}
