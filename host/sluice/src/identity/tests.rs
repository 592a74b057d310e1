use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sluice_core::units::Timestamp;
use sluice_stratum_v2::noise::{AuthoritySecret, Identity, Validity};
use tempfile::TempDir;

use super::left::{Alarm, Left};
use super::{Endpoint, Identities, Keeper, file, start, validity};
use crate::config::IdentitySource;

const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;
/// Some time in 2025.
const NOW: u32 = 1_750_000_000;

fn at(seconds: u32) -> Timestamp {
    Timestamp(u64::from(seconds) * 1000)
}

fn secret(byte: u8) -> AuthoritySecret {
    AuthoritySecret::from_entropy([byte; 32]).unwrap()
}

fn identity(authority: &AuthoritySecret, key: u8, validity: Validity) -> Identity {
    Identity::issue([key; 32], authority, validity).unwrap()
}

/// A directory with files in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Puts a file in the place of the old one, as `mv` does.
    fn put(&self, text: &str, mode: u32) -> PathBuf {
        let (new, path) = (self.0.path().join("new"), self.0.path().join("file"));
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(mode)).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    fn certificate(&self, authority: &AuthoritySecret, key: u8, validity: Validity) -> IdentitySource {
        let text = file::to_text(authority.public(), &identity(authority, key, validity));
        IdentitySource::Certificate(self.put(&text, 0o600))
    }

    fn authority(&self, authority: &AuthoritySecret) -> IdentitySource {
        IdentitySource::Authority(self.put(&authority.reveal(), 0o600))
    }
}

#[track_caller]
fn refused(source: &IdentitySource, now: u32, expected: &str) {
    let error = format!("{:#}", start(source, at(now)).expect_err("it cannot be used"));
    assert!(error.contains(expected), "{error}");
}

fn present(identities: &Identities) -> (Validity, [u8; 32]) {
    let identity = identities.current.borrow();
    assert!(identity.issued_by(&identities.authority));
    (identity.validity(), identity.static_key().to_bytes())
}

#[test]
fn certificate_made_here_is_back_dated_and_rotated_at_half_life() {
    // N-16
    let place = Place::new();
    let (identities, mut keeper) = start(&place.authority(&secret(1)), at(NOW)).unwrap();
    let (first, key) = present(&identities);
    assert_eq!(first, Validity { valid_from: NOW - HOUR, not_valid_after: NOW + 48 * HOUR });
    for later in [1, HOUR, DAY - 1] {
        keeper.look(at(NOW + later));
        assert_eq!(present(&identities), (first, key), "after {later} s");
    }
    keeper.look(at(NOW + DAY));
    let (second, same_key) = present(&identities);
    assert_eq!(second, Validity { valid_from: NOW + DAY - HOUR, not_valid_after: NOW + DAY + 48 * HOUR });
    // N-17
    assert_eq!(same_key, key, "the static key stays while the pool runs");
}

#[test]
fn at_least_a_day_is_left_of_what_is_handed_out() {
    // N-16, in whatever steps time goes.
    let place = Place::new();
    let (identities, mut keeper) = start(&place.authority(&secret(1)), at(NOW)).unwrap();
    for hours in (0..1000).step_by(7) {
        let now = NOW + hours * HOUR;
        keeper.look(at(now));
        let (validity, _) = present(&identities);
        assert!(validity.contains(now) && validity.not_valid_after - now >= DAY, "after {hours} h");
    }
}

#[test]
fn clock_that_is_set_back_gets_a_certificate_of_its_time() {
    let place = Place::new();
    let (identities, mut keeper) = start(&place.authority(&secret(1)), at(NOW)).unwrap();
    keeper.look(at(NOW - 30 * DAY));
    assert!(present(&identities).0.contains(NOW - 30 * DAY));
}

#[test]
fn clocks_at_their_ends_are_no_reason_to_stop() {
    let place = Place::new();
    let source = place.authority(&secret(1));
    for now in [0, u32::MAX] {
        let (identities, mut keeper) = start(&source, at(now)).unwrap();
        keeper.look(at(now));
        assert!(present(&identities).0.contains(now));
    }
}

#[test]
fn certificate_made_elsewhere_is_presented_as_it_is() {
    // N-17: without the authority's secret.
    let place = Place::new();
    let span = validity(at(NOW), 90 * DAY);
    let (identities, mut keeper) = start(&place.certificate(&secret(1), 2, span), at(NOW)).unwrap();
    let first = present(&identities);
    assert_eq!((identities.authority, first.0), (secret(1).public(), span));
    keeper.look(at(NOW + 80 * DAY));
    assert_eq!(present(&identities), first);
}

fn certified(place: &Place) -> (Identities, Keeper) {
    start(&place.certificate(&secret(1), 2, validity(at(NOW), 90 * DAY)), at(NOW)).unwrap()
}

#[test]
fn replaced_certificate_is_taken_while_the_pool_runs() {
    let place = Place::new();
    let (mut identities, mut keeper) = certified(&place);
    let later = NOW + 80 * DAY;
    let span = validity(at(later), 90 * DAY);
    place.certificate(&secret(1), 3, span);
    identities.current.mark_unchanged();
    keeper.look(at(later));
    assert!(identities.current.has_changed().unwrap());
    let key = identity(&secret(1), 3, span).static_key().to_bytes();
    assert_eq!(present(&identities), (span, key));
    identities.current.mark_unchanged();
    keeper.look(at(later));
    assert!(!identities.current.has_changed().unwrap(), "the same file once more changes nothing");
}

#[test]
fn what_cannot_be_used_changes_nothing_until_it_is_mended() {
    let place = Place::new();
    let (mut identities, mut keeper) = certified(&place);
    let first = present(&identities);
    identities.current.mark_unchanged();
    let span = validity(at(NOW), DAY);
    let other = file::to_text(secret(9).public(), &identity(&secret(9), 3, span));
    let forged = file::to_text(secret(1).public(), &identity(&secret(9), 3, span));
    let past = file::to_text(secret(1).public(), &identity(&secret(1), 3, validity(at(NOW - 9 * DAY), DAY)));
    let good = file::to_text(secret(1).public(), &identity(&secret(1), 3, span));
    for (text, mode) in
        [(&other, 0o600), (&forged, 0o600), (&past, 0o600), (&String::new(), 0o600), (&good, 0o644)]
    {
        place.put(text, mode);
        keeper.look(at(NOW));
        keeper.look(at(NOW));
    }
    let path = place.0.path().join("file");
    fs::remove_file(&path).unwrap();
    keeper.look(at(NOW));
    assert!(!identities.current.has_changed().unwrap());
    assert_eq!(present(&identities), first);
    // The content is right, and then its permissions are as well.
    place.put(&good, 0o640);
    keeper.look(at(NOW));
    assert_eq!(present(&identities), first);
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    keeper.look(at(NOW));
    assert_eq!(present(&identities).0, span);
}

#[test]
fn certificate_of_tomorrow_is_taken_tomorrow() {
    let place = Place::new();
    let (identities, mut keeper) = certified(&place);
    let first = present(&identities);
    let span = validity(at(NOW + DAY), 90 * DAY);
    place.certificate(&secret(1), 3, span);
    keeper.look(at(NOW));
    assert_eq!(present(&identities), first);
    keeper.look(at(NOW + DAY));
    assert_eq!(present(&identities).0, span);
}

#[test]
fn unusable_files_are_refused_at_the_start() {
    let place = Place::new();
    let span = validity(at(NOW), DAY);
    let good = place.certificate(&secret(1), 2, span);
    refused(&good, NOW + DAY + 1, "held until");
    refused(&good, NOW - 2 * HOUR, "holds from");
    let text = file::to_text(secret(1).public(), &identity(&secret(9), 2, span));
    refused(&IdentitySource::Certificate(place.put(&text, 0o600)), NOW, "was not signed by");
    let text = file::to_text(secret(1).public(), &identity(&secret(1), 2, span));
    let twice = format!("{text}authority = {}\n", secret(1).public());
    refused(&IdentitySource::Certificate(place.put(&twice, 0o600)), NOW, "line 6");
    let without: String =
        text.lines().filter(|line| !line.starts_with("authority")).collect::<Vec<_>>().join("\n");
    refused(&IdentitySource::Certificate(place.put(&without, 0o600)), NOW, "`authority = ...` is missing");
    // N-41: what it is instead is said.
    let public = secret(1).public().to_string();
    refused(&IdentitySource::Authority(place.put(&public, 0o600)), NOW, "length of a public key");
    refused(&IdentitySource::Authority(place.put("", 0o600)), NOW, "is no authority key");
    refused(&IdentitySource::Authority(place.0.path().join("none")), NOW, "failed to open");
    refused(&IdentitySource::Authority(place.0.path().to_owned()), NOW, "is no file");
    let long = "1".repeat(5000);
    refused(&IdentitySource::Authority(place.put(&long, 0o600)), NOW, "is too large");
}

#[test]
fn secrets_that_others_can_read_are_refused_with_the_remedy() {
    let place = Place::new();
    for mode in [0o640, 0o604, 0o660, 0o644, 0o620] {
        let path = place.put(&secret(1).reveal(), mode);
        let remedy = format!("(mode {mode:04o}): chmod 600 {}", path.display());
        refused(&IdentitySource::Authority(path.clone()), NOW, &remedy);
        refused(&IdentitySource::Certificate(path), NOW, &remedy);
    }
    for mode in [0o600, 0o400] {
        let path = place.put(&format!("  {}\n", secret(1).reveal()), mode);
        start(&IdentitySource::Authority(path), at(NOW)).unwrap();
    }
}

#[test]
fn errors_do_not_repeat_secrets() {
    let place = Place::new();
    let reveal = secret(1).reveal();
    let path = place.put(&reveal, 0o600);
    let error = format!("{:#}", start(&IdentitySource::Certificate(path), at(NOW)).unwrap_err());
    assert!(!error.contains(&reveal), "{error}");
    let (identities, keeper) = start(&place.authority(&secret(1)), at(NOW)).unwrap();
    let shown = format!("{identities:?} {keeper:?}");
    assert!(!shown.contains(&reveal) && shown.contains(&secret(1).public().to_string()), "{shown}");
}

#[test]
fn alarm_rises_as_the_certificate_runs_out() {
    let span = validity(at(NOW), 90 * DAY);
    let end = span.not_valid_after;
    assert_eq!(Left::of(span, at(NOW)), Left::Enough);
    assert_eq!(Left::of(span, at(end - 14 * DAY)), Left::Enough);
    assert_eq!(Left::of(span, at(end - 14 * DAY + 1)), Left::Soon);
    assert_eq!(Left::of(span, at(end - DAY + 1)), Left::Little);
    assert_eq!(Left::of(span, at(end)), Left::Little);
    assert_eq!(Left::of(span, at(end + 1)), Left::Nothing);
    assert_eq!(Left::of(span, at(span.valid_from - 1)), Left::Nothing);
    // One that is renewed in time never comes near.
    let short = validity(at(NOW), 48 * HOUR);
    assert_eq!(Left::of(short, at(NOW + 25 * HOUR)), Left::Enough);
}

#[test]
fn alarm_is_repeated_but_not_with_every_look() {
    let span = validity(at(NOW), 90 * DAY);
    let soon = span.not_valid_after - 10 * DAY;
    let mut alarm = Alarm::default();
    assert_eq!(alarm.look(span, at(NOW)), None);
    assert_eq!(alarm.look(span, at(soon)), Some(Left::Soon));
    assert_eq!(alarm.look(span, at(soon + DAY - 1)), None);
    assert_eq!(alarm.look(span, at(soon + DAY)), Some(Left::Soon));
    let over = span.not_valid_after + 1;
    assert_eq!(alarm.look(span, at(over)), Some(Left::Nothing));
    assert_eq!(alarm.look(span, at(over + 599)), None);
    assert_eq!(alarm.look(span, at(over + 600)), Some(Left::Nothing));
    assert_eq!(alarm.look(validity(at(over), DAY), at(over)), None, "a new one ends it");
}

#[test]
fn url_is_that_of_the_specification() {
    // N-40, with its vector.
    let key = "9bXiEd8boQVhq7WddEcERUL5tyyJVFYdU8th3HfbNXK3Yw6GRXh";
    // A pool that listens on every address does not know by which one miners reach it.
    for (bound, host) in [
        ("127.0.0.1:3336", "127.0.0.1:3336"),
        ("[::1]:3336", "[::1]:3336"),
        ("0.0.0.0:3336", "HOST:3336"),
        ("[::]:7", "HOST:7"),
    ] {
        let address = bound.parse().unwrap();
        let endpoint = Endpoint { address, authority: key.parse().unwrap(), plain_text: None };
        assert_eq!(endpoint.to_string(), format!("stratum2+tcp://{host}/{key}"));
    }
}

#[test]
fn files_are_written_once_and_for_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path: &Path = &dir.path().join("secret");
    file::write_secret(path, "first").unwrap();
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = file::write_secret(path, "second").unwrap_err().to_string();
    assert!(error.contains("never overwritten"), "{error}");
    assert_eq!(file::read_secret(path).unwrap(), "first");
}
