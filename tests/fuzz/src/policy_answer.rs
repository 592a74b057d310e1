//! An answer: a guest whose memory is the input answers every question with a pointer that is the input too. Never a
//! panic; an answer within the rules, or a failure with a reason.
//!
//! The first byte chooses what is asked, the next four are the pointer, and all of it from the second byte on lies at
//! address 65536.

use std::fmt::Write;
use std::sync::OnceLock;

use serde_json::Value;
use sluice_core::policy::PolicyKind;
use sluice_policy::config::Settings;

use super::guest::Guest;
use super::policy::ask;

/// What the guest has room for, in bytes.
const LIMIT: usize = 8192;

const KINDS: [PolicyKind; 4] =
    [PolicyKind::Auth, PolicyKind::Vardiff, PolicyKind::Payout, PolicyKind::Payout];

pub fn run(data: &[u8]) {
    answered(data);
}

/// Whether the input is an answer within the rules.
pub fn answered(data: &[u8]) -> bool {
    let Some((first, image)) = data.split_first() else { return false };
    let choice = usize::from(*first) % KINDS.len();
    let mut text = String::new();
    for byte in image.iter().take(LIMIT) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    let settings = Settings::from_iter([("image".to_owned(), Value::from(text))]);
    ask(KINDS[choice], guest(choice), &settings)
}

/// Takes the image from its settings, `{"image":"00ff.."}`.
const CONFIGURE: &str = r#"
    (local $in i32) (local $out i32)
    (local.set $in (i32.add (local.get 0) (i32.const 10)))
    (local.set $out (i32.const 65536))
    (block $done (loop $next
      (br_if $done (i32.eq (i32.load8_u (local.get $in)) (i32.const 34)))
      (i32.store8 (local.get $out)
        (i32.or
          (i32.shl (call $digit (i32.load8_u (local.get $in))) (i32.const 4))
          (call $digit (i32.load8_u offset=1 (local.get $in)))))
      (local.set $in (i32.add (local.get $in) (i32.const 2)))
      (local.set $out (i32.add (local.get $out) (i32.const 1)))
      (br $next)))
    (i32.const 16)"#;

const DIGIT: &str = "(func $digit (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 58))
      (then (i32.sub (local.get 0) (i32.const 48)))
      (else (i32.sub (local.get 0) (i32.const 87)))))";

const ANSWER: &str = "(i32.load (i32.const 65536))";

fn guest(choice: usize) -> &'static [u8] {
    static GUESTS: [OnceLock<Vec<u8>>; 4] = [const { OnceLock::new() }; 4];
    GUESTS[choice].get_or_init(|| {
        let exports: &[&'static str] = match choice {
            0 => &["authorize"],
            1 => &["open", "review-all"],
            2 => &["settle", "accrue"],
            _ => &["describe-plan"],
        };
        let guest = Guest::new(KINDS[choice], "image").pages(2).with(DIGIT).body("configure", CONFIGURE);
        exports.iter().fold(guest, |guest, export| guest.body(export, ANSWER)).build()
    })
}
