//! How much of the certificate is left, and who is told of it how often.

use sluice_core::units::Timestamp;
use sluice_stratum_v2::noise::Validity;

const DAY_S: u32 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Enough,
    /// A quarter of its span, or 14 days: somebody has to sign a new one.
    Soon,
    /// An eighth of its span, or one day.
    Little,
    /// Clients that know the time refuse the pool.
    Nothing,
}

impl Left {
    pub(super) fn of(Validity { valid_from, not_valid_after }: Validity, now: Timestamp) -> Self {
        let now = now.seconds();
        let (span, left) = (not_valid_after.saturating_sub(valid_from), not_valid_after.saturating_sub(now));
        if !(valid_from..=not_valid_after).contains(&now) {
            Self::Nothing
        } else if left < (span / 8).min(DAY_S) {
            Self::Little
        } else if left < (span / 4).min(14 * DAY_S) {
            Self::Soon
        } else {
            Self::Enough
        }
    }

    /// Seconds until it is told of again.
    const fn pause(self) -> u32 {
        match self {
            Self::Enough | Self::Soon => DAY_S,
            Self::Little => 3600,
            Self::Nothing => 600,
        }
    }
}

/// Tells of a certificate that runs out.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// What was told last, and when.
    told: Option<(Left, u32)>,
}

impl Alarm {
    /// Logs where that is due. Returns what it told.
    pub(super) fn look(&mut self, validity: Validity, now: Timestamp) -> Option<Left> {
        let left = Left::of(validity, now);
        let (seconds, not_valid_after) = (now.seconds(), validity.not_valid_after);
        if left == Left::Enough {
            self.told = None;
            return None;
        }
        if self.told.is_some_and(|(told, at)| told == left && seconds.abs_diff(at) < left.pause()) {
            return None;
        }
        self.told = Some((left, seconds));
        let hours_left = not_valid_after.saturating_sub(seconds) / 3600;
        match left {
            Left::Enough => {}
            Left::Soon => tracing::warn!(not_valid_after, hours_left, "the SV2 certificate runs out soon"),
            Left::Little => tracing::error!(not_valid_after, hours_left, "the SV2 certificate runs out"),
            Left::Nothing => {
                tracing::error!(not_valid_after, "the SV2 certificate is not valid; miners refuse the pool");
            }
        }
        Some(left)
    }
}
