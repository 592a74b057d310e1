//! Which grant a URL falls under.

use super::config::UrlGrant;
use super::url::Url;

/// The grant that counts for a URL: the longest that covers it, with its place in the list.
pub(super) fn covering<'a>(grants: &'a [UrlGrant], url: &Url) -> Option<(usize, &'a UrlGrant)> {
    let covers = |(_, grant): &(usize, &UrlGrant)| grant.prefix.covers(url);
    grants.iter().enumerate().filter(covers).max_by_key(|(_, grant)| grant.prefix.length())
}
