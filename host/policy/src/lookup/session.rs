//! What a call has at hand when it looks something up.

use std::fmt;
use std::sync::Arc;

use super::request::{Key, Request, Said};
use super::service::Service;
use crate::bindings::lookup as wit;
use crate::check::printable;

/// Lookups that a login may make.
pub(crate) const LOOKUPS: usize = 8;

/// What was looked up for a login so far: at most [`LOOKUPS`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    found: Vec<(Key, Said)>,
}

impl Findings {
    /// `limit`: the most bytes that a login may hold.
    pub(super) fn add(&mut self, request: &Request, said: Said, limit: usize) {
        let said = if self.bytes().saturating_add(said.bytes()) > limit {
            Said::Unavailable(format!("the answers to this login are together larger than {limit} bytes"))
        } else {
            said
        };
        self.found.push((request.key(), said));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.found.iter().map(|(_, said)| said.bytes()).sum()
    }
}

/// An author's answers, instead of a service's.
pub(crate) trait Script: Send + Sync {
    fn answer(&self, request: &Request) -> Said;
}

/// What becomes of a request that there is no answer to yet.
#[derive(Clone)]
pub(crate) enum Beyond {
    /// A fresh answer that is kept serves; else the call ends, and the service is asked.
    Ask(Arc<Service>),
    /// The call ends, and nobody is asked: an earlier login is gone through again.
    Recorded(Arc<Service>),
    /// Answered at once by an author.
    Script(Arc<dyn Script>),
    /// Unavailable, whatever it is.
    Silent,
}

/// One call's lookups: lent to the guest's store while the call runs.
pub(crate) struct Session {
    findings: Findings,
    /// Which findings this call has had.
    used: Vec<bool>,
    beyond: Beyond,
    /// What the call was ended for.
    wanted: Option<Request>,
}

/// Ends a call: no fault of the guest's.
#[derive(Debug)]
pub(crate) struct Suspended;

impl fmt::Display for Suspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call waits for an answer")
    }
}

impl std::error::Error for Suspended {}

impl Session {
    pub(crate) fn new(findings: Findings, beyond: Beyond) -> Self {
        let used = vec![false; findings.found.len()];
        Self { findings, used, beyond, wanted: None }
    }

    /// What was found, and what the call was ended for.
    pub(crate) fn end(self) -> (Findings, Option<Request>) {
        (self.findings, self.wanted)
    }

    /// # Errors
    /// [`Suspended`], where the answer has to be waited for.
    pub(crate) fn fetch(
        &mut self,
        asked: wit::Request,
    ) -> Result<Result<wit::Answer, wit::Failure>, Suspended> {
        let url = asked.url.clone();
        let request = match self.permit(asked) {
            Ok(request) => request,
            Err(why) => return Ok(Err(self.deny(&url, &why))),
        };
        if let Some(said) = self.recall(&request) {
            return Ok(said.lower());
        }
        if self.findings.found.len() >= LOOKUPS {
            return Ok(Err(self.deny(&url, &format!("this login has made {LOOKUPS} lookups already"))));
        }
        match self.at_hand(&request) {
            Some(said) => Ok(self.note(&request, said).lower()),
            None => {
                self.wanted = Some(request);
                Err(Suspended)
            }
        }
    }

    fn permit(&self, asked: wit::Request) -> Result<Request, String> {
        let request = Request::check(asked)?;
        if let Beyond::Ask(service) | Beyond::Recorded(service) = &self.beyond {
            service.permit(&request)?;
        }
        Ok(request)
    }

    fn deny(&self, url: &str, why: &str) -> wit::Failure {
        if let Beyond::Ask(service) = &self.beyond {
            service.denied(url, why);
        }
        wit::Failure::Denied(printable(why))
    }

    /// The first finding for this request that this call has not had.
    fn recall(&mut self, request: &Request) -> Option<&Said> {
        let mut found = self.findings.found.iter().zip(&mut self.used);
        let ((_, said), used) = found.find(|((of, _), used)| !**used && *of == request.key())?;
        *used = true;
        Some(said)
    }

    fn at_hand(&self, request: &Request) -> Option<Said> {
        match &self.beyond {
            Beyond::Ask(service) => service.at_hand(request),
            Beyond::Recorded(_) => None,
            Beyond::Script(script) => Some(script.answer(request)),
            Beyond::Silent => Some(Said::Unavailable("there is no service here".to_owned())),
        }
    }

    /// Beginning anew, the call is to find the same.
    fn note(&mut self, request: &Request, said: Said) -> &Said {
        let limit = match &self.beyond {
            Beyond::Ask(service) | Beyond::Recorded(service) => service.login_bytes(),
            Beyond::Script(_) | Beyond::Silent => usize::MAX,
        };
        self.findings.add(request, said, limit);
        self.used.push(true);
        // Just pushed.
        let (_, said) = &self.findings.found[self.findings.found.len() - 1];
        said
    }
}
