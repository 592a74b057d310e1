//! Every code this server sends in an error or a close (03 §3.5; F-60 to F-63). The specification names none any
//! more: where the reference implementation has a string for the case it is used as it is, the others are ours and
//! say so. Lower-case letters and hyphens only (F-62), never free text.

use sluice_core::policy::auth::Refusal;
use sluice_core::share::Reason;

/// An enum of codes with their strings.
macro_rules! codes {
    ($(#[$about:meta])* $name:ident in $message:literal { $($(#[$doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// The message they are sent in.
            pub const MESSAGE: &'static str = $message;
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// As the wire wants it.
            pub const fn as_bytes(self) -> &'static [u8] {
                self.as_str().as_bytes()
            }
        }
    };
}

codes! {
    /// Why a connection is not set up; it is closed afterwards (S-14).
    SetupError in "SetupConnection.Error" {
        /// S-6: the flags of the message say which.
        UnsupportedFlags = "unsupported-feature-flags",
        /// S-4.
        UnsupportedProtocol = "unsupported-protocol",
        /// S-5.
        VersionMismatch = "protocol-version-mismatch",
    }
}

codes! {
    /// Why a channel is not opened; the connection stays.
    OpenError in "OpenMiningChannel.Error" {
        /// The authorization policy knows no such user (M-12).
        UnknownUser = "unknown-user",
        /// Not a name that can be looked up (M-12).
        InvalidUserIdentity = "invalid-user-identity",
        /// NaN, infinite or negative (M-13).
        InvalidHashRate = "invalid-nominal-hashrate",
        /// Zero, or harder than the pool goes (M-14).
        TargetOutOfRange = "max-target-out-of-range",
        /// M-15.
        ExtranonceTooLarge = "min-extranonce-size-too-large",
        /// The client asked for standard jobs at setup (M-19).
        StandardJobsOnly = "extended-channels-not-supported-for-standard-jobs",
        /// As many channels as are allowed are open on the connection, or in the pool (M-8).
        Full = "channel-capacity-exhausted",
        /// Ours: the user is known and may not mine here (M-12).
        Forbidden = "user-forbidden",
        /// Ours: the authorization policy cannot answer at present (M-12).
        TryLater = "try-later",
        /// Ours: the pool waited for work from its node and got none (M-22).
        NotReady = "pool-not-ready",
    }
}

codes! {
    /// Why UpdateChannel changed nothing (M-55).
    UpdateError in "UpdateChannel.Error" {
        /// Not a channel of this connection; a group is none either.
        InvalidChannel = "invalid-channel-id",
        /// NaN, infinite or negative (F-27).
        InvalidHashRate = "invalid-nominal-hashrate",
        /// Zero, or harder than the pool goes.
        TargetOutOfRange = "max-target-out-of-range",
    }
}

codes! {
    /// Why a submission does not count (M-72).
    ShareError in "SubmitShares.Error" {
        /// Not a channel of this connection, or not of the kind that sends such submissions (M-73, M-87).
        InvalidChannel = "invalid-channel-id",
        /// The job belonged to an earlier block (M-41).
        Stale = "stale-share",
        /// The job was never sent on this channel, or is too old to be kept (M-44).
        InvalidJob = "invalid-job-id",
        /// The hash is above the target of the job (M-77).
        LowDifficulty = "difficulty-too-low",
        /// M-86.
        Duplicate = "duplicate-share",
        /// M-71.
        BadExtranonceSize = "bad-extranonce-size",
        /// Bits outside BIP323's differ from the job's version (M-76).
        BadVersionBits = "invalid-non-rollable-version-bit",
        /// Something about the message itself, such as a worker name that is too long (F-42, E-21).
        Invalid = "invalid-share",
        /// Ours: the header's time is before the job's or too far ahead (M-75).
        InvalidTime = "invalid-ntime",
    }
}

codes! {
    /// Why the server closes a channel (M-62). Ours.
    CloseReason in "CloseChannel" {
        /// Too many submissions in a row that do not count.
        InvalidShares = "too-many-invalid-shares",
    }
}

/// Every message that carries codes, each with one of them.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let setup = SetupError::ALL.iter().map(|code| (SetupError::MESSAGE, code.as_str()));
    let open = OpenError::ALL.iter().map(|code| (OpenError::MESSAGE, code.as_str()));
    let update = UpdateError::ALL.iter().map(|code| (UpdateError::MESSAGE, code.as_str()));
    let share = ShareError::ALL.iter().map(|code| (ShareError::MESSAGE, code.as_str()));
    let close = CloseReason::ALL.iter().map(|code| (CloseReason::MESSAGE, code.as_str()));
    setup.chain(open).chain(update).chain(share).chain(close)
}

impl From<Reason> for ShareError {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::UnknownJob => Self::InvalidJob,
            Reason::Stale => Self::Stale,
            Reason::Duplicate => Self::Duplicate,
            Reason::LowDifficulty => Self::LowDifficulty,
            Reason::TimeTooOld | Reason::TimeTooNew => Self::InvalidTime,
            Reason::BadVersion => Self::BadVersionBits,
            Reason::BadExtranonce => Self::BadExtranonceSize,
            // Nobody submits on a channel that is not theirs.
            Reason::Unauthorized | Reason::Malformed => Self::Invalid,
        }
    }
}

/// There are no passwords in Stratum V2: who would need one is not known here.
impl From<&Refusal> for OpenError {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::UnknownUser(_) | Refusal::WrongPassword(_) => Self::UnknownUser,
            Refusal::Forbidden(_) => Self::Forbidden,
            Refusal::TryLater(_) => Self::TryLater,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ShareError, all};
    use sluice_core::share::Reason;

    #[test]
    fn codes_are_short_printable_and_distinct() {
        let mut seen = HashSet::new();
        for (message, code) in all() {
            // F-62
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
            assert!(!code.is_empty() && code.len() <= 255);
            assert!(seen.insert((message, code)), "{message} has {code} twice");
        }
        assert!(seen.contains(&("SubmitShares.Error", "invalid-ntime")));
        assert!(seen.contains(&("SetupConnection.Error", "unsupported-feature-flags")));
    }

    #[test]
    fn every_verdict_of_the_judge_has_its_code() {
        // F-63: the strings that deployed clients know.
        let known = [
            (Reason::UnknownJob, "invalid-job-id"),
            (Reason::Stale, "stale-share"),
            (Reason::Duplicate, "duplicate-share"),
            (Reason::LowDifficulty, "difficulty-too-low"),
            (Reason::BadVersion, "invalid-non-rollable-version-bit"),
            (Reason::BadExtranonce, "bad-extranonce-size"),
            (Reason::Malformed, "invalid-share"),
        ];
        for (reason, code) in known {
            assert_eq!(ShareError::from(reason).as_str(), code);
        }
    }
}
