//! What work on a template is expected to bring, in whole numbers.

use sluice_plugin::payout::{BasisPoints, MICROSATS, Tally};

/// What a unit of a tally's work is worth: `numerator / denominator` millionths of a satoshi, before the fee.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worth {
    numerator: u128,
    denominator: u128,
}

impl Worth {
    /// Of a reward in satoshis, on the tally's template.
    pub(crate) fn of(reward: u64, tally: &Tally) -> Self {
        // As the host does it. A cast from float saturates and takes NaN to 0; a block takes some work.
        let denominator = ((tally.network_difficulty / tally.work_unit).round() as u128).max(1);
        Self { numerator: u128::from(reward) * u128::from(MICROSATS), denominator }
    }

    /// Millionths of a satoshi for `work` less the fee, rounded down once: the fraction is cut in one place whatever
    /// the fee.
    pub(crate) fn microsats(self, work: u64, fee: BasisPoints) -> u128 {
        let whole = u128::from(BasisPoints::WHOLE);
        let part = u128::from(fee.complement().get());
        // Below 2^51, 2^20 and 2^53, so the product fits.
        let gross = self.numerator.saturating_mul(u128::from(work));
        // `gross * part / (denominator * whole)` in two steps, since that product does not fit.
        let (quotient, rest) = (gross / self.denominator, gross % self.denominator);
        let fraction = rest.saturating_mul(part) / self.denominator;
        quotient.saturating_mul(part).saturating_add(fraction) / whole
    }
}

#[cfg(test)]
mod tests;
