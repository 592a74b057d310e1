//! How many bytes an answer hands to the host, as wasmtime counts them against the limit of answers: text, and elements
//! of lists in the form that the host holds them.

use crate::bindings::{auth, payout, types, vardiff};

/// What a call answers with.
pub(crate) trait Weight {
    /// Beyond what every answer of its type takes.
    fn bytes(&self) -> usize;
}

fn list<T: Weight>(list: &[T]) -> usize {
    size_of_val(list) + list.iter().map(Weight::bytes).sum::<usize>()
}

impl<T: Weight, E: Weight> Weight for Result<T, E> {
    fn bytes(&self) -> usize {
        match self {
            Ok(answer) => answer.bytes(),
            Err(error) => error.bytes(),
        }
    }
}

impl<T: Weight> Weight for Vec<T> {
    fn bytes(&self) -> usize {
        list(self)
    }
}

impl Weight for types::PolicyError {
    fn bytes(&self) -> usize {
        match self {
            Self::BadSettings(text) | Self::BadInput(text) | Self::Internal(text) => text.len(),
        }
    }
}

impl Weight for auth::Grant {
    fn bytes(&self) -> usize {
        self.account.len() + self.worker.len() + self.payout_address.as_ref().map_or(0, String::len)
    }
}

impl Weight for auth::Refusal {
    fn bytes(&self) -> usize {
        match self {
            Self::UnknownUser(text)
            | Self::WrongPassword(text)
            | Self::Forbidden(text)
            | Self::TryLater(text) => text.len(),
        }
    }
}

impl Weight for vardiff::Decision {
    fn bytes(&self) -> usize {
        self.memo.len()
    }
}

impl Weight for payout::Plan {
    fn bytes(&self) -> usize {
        0
    }
}

impl Weight for payout::Entitlement {
    fn bytes(&self) -> usize {
        self.account.len() + self.reason.len()
    }
}

impl Weight for payout::Accrual {
    fn bytes(&self) -> usize {
        self.account.len() + self.reason.len()
    }
}
