//! Looking things up: HTTP requests that the host makes for an auth policy, to the URLs that the configuration grants.
//!
//! A guest's call is never held while a service takes its time. Where the answer is not at hand the call is ended, the
//! login waits aside ([`waiting`]), and `authorize` begins anew once the answer is there (decision 29). What goes out is
//! bounded here ([`service`]): which URLs ([`url`]), how many at once, how long, how large, how often.

mod cache;
mod config;
mod figures;
mod grants;
mod http;
mod request;
mod service;
mod session;
mod transport;
mod url;
mod waiting;

pub use config::{Clock, Header, HeaderError, LookupConfig, Outside, UrlGrant};
pub use figures::{GrantStatus, LookupFailures, LookupFault, LookupStatus};
pub use http::{Http, HttpError, Trust};
pub use transport::{Method, Offline, Outgoing, Pending, Reply, Transport, TransportError};
pub use url::{Scheme, Url, UrlError, UrlPrefix};

pub(crate) use request::{Request, Said};
pub(crate) use service::Service;
pub(crate) use session::{Beyond, Findings, Script, Session, Suspended};
pub(crate) use waiting::{Waiter, Waiting, Waits};
