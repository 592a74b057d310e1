//! Answers that are gigantic, lie outside memory, or are no text, no number, no case of their variant.

use sluice_core::policy::PolicyKind;
use sluice_policy::{Policies, TrapCause};

use crate::alone::{Holdings, alone};
use crate::guest::Guest;
use crate::house::House;
use crate::scene::{Question, Scene};

/// Each has an answer that the host reads from the guest's memory.
const READ: [Question; 5] =
    [Question::Authorize, Question::Open, Question::ReviewAll, Question::Settle, Question::Accrue];

/// Bytes of an answer at their places; the rest is zero: the first case of everything, empty texts and lists.
#[derive(Clone)]
struct Image([u8; 128]);

impl Image {
    fn zeros() -> Self {
        Self([0; 128])
    }

    fn byte(mut self, at: usize, value: u8) -> Self {
        self.0[at] = value;
        self
    }

    fn word(mut self, at: usize, value: usize) -> Self {
        self.0[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        self
    }

    /// A text or list at this address, of so many bytes or items.
    fn list(self, at: usize, address: usize, length: usize) -> Self {
        self.word(at, address).word(at + 4, length)
    }

    fn long(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn float(self, at: usize, value: f64) -> Self {
        self.long(at, value.to_bits())
    }
}

/// The address of the guest's own name, and its length.
const NAME: usize = 4096;
const LENGTH: usize = 4;

fn liar(question: Question) -> Guest {
    Guest::new(question.kind(), "liar")
}

/// Answers with this image, which may refer to `bytes`.
fn answering(question: Question, bytes: &[u8], image: impl FnOnce(usize) -> Image) -> Guest {
    let mut guest = liar(question);
    let bytes = guest.put(bytes);
    let at = guest.put(&image(bytes).0);
    guest.body(question.export(), &format!("(i32.const {at})"))
}

/// The same for one record in a list.
fn listing(question: Question, bytes: &[u8], record: impl FnOnce(usize) -> Image) -> Guest {
    let mut guest = liar(question);
    let bytes = guest.put(bytes);
    let record = guest.put(&record(bytes).0);
    let at = guest.put(&Image::zeros().list(4, record, 1).0);
    guest.body(question.export(), &format!("(i32.const {at})"))
}

/// The image of a good grant.
fn grant() -> Image {
    Image::zeros().list(8, NAME, LENGTH)
}

#[tokio::test]
async fn a_pointer_outside_memory_or_off_its_alignment_is_stopped() {
    for question in READ {
        for pointer in ["0x7ffffff0", "0xfffffffc", "4098", "131068"] {
            let guest = liar(question).body(question.export(), &format!("(i32.const {pointer})"));
            Scene::of(question, guest).await.stopped(TrapCause::Other, "pointer").await;
        }
    }
}

#[tokio::test]
async fn a_case_that_there_is_not_is_stopped() {
    let mut cases: Vec<_> = READ
        .into_iter()
        .flat_map(|question| [2, 255].map(|case| (question, Image::zeros().byte(0, case))))
        .map(|(question, image)| (question, answering(question, b"", |_| image)))
        .collect();
    cases.extend([
        // A fifth refusal, a third option, a third portion, a fourth error.
        (Question::Authorize, answering(Question::Authorize, b"", |_| Image::zeros().byte(0, 1).byte(8, 4))),
        (Question::Authorize, answering(Question::Authorize, b"", |_| grant().byte(24, 2))),
        (Question::Settle, listing(Question::Settle, b"", |_| Image::zeros().byte(8, 2))),
        (Question::Accrue, answering(Question::Accrue, b"", |_| Image::zeros().byte(0, 1).byte(4, 3))),
    ]);
    for (question, guest) in cases {
        Scene::of(question, guest).await.stopped(TrapCause::Other, "discriminant").await;
    }
}

#[tokio::test]
async fn text_that_is_no_utf8_is_stopped_wherever_it_stands() {
    for bytes in [&b"\xff\xfe"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"abc\xe2\x82"] {
        let at = |image: Image, place: usize| move |text| image.list(place, text, bytes.len());
        let answers = [
            (Question::Authorize, answering(Question::Authorize, bytes, at(grant(), 8))),
            (Question::Authorize, answering(Question::Authorize, bytes, at(grant(), 16))),
            (Question::Authorize, answering(Question::Authorize, bytes, at(grant().byte(24, 1), 28))),
            (Question::Authorize, answering(Question::Authorize, bytes, at(Image::zeros().byte(0, 1), 12))),
            (Question::Open, answering(Question::Open, bytes, at(Image::zeros().byte(0, 1), 12))),
            (Question::Settle, listing(Question::Settle, bytes, at(Image::zeros(), 0))),
            (Question::Settle, listing(Question::Settle, bytes, at(Image::zeros(), 24))),
            (Question::Accrue, listing(Question::Accrue, bytes, at(Image::zeros(), 20))),
        ];
        for (question, guest) in answers {
            Scene::of(question, guest).await.stopped(TrapCause::Other, "utf-8").await;
        }
    }
}

#[tokio::test]
async fn a_surrogate_without_its_other_half_is_stopped() {
    let mut guest = Guest::utf16(PolicyKind::Auth, "liar");
    let text = guest.put(&[0x41, 0, 0x00, 0xd8, 0x41, 0]);
    let at = guest.put(&Image::zeros().list(8, text, 3).0);
    let guest = guest.body("authorize", &format!("(i32.const {at})"));
    Scene::of(Question::Authorize, guest).await.stopped(TrapCause::Other, "unpaired surrogate").await;
    let fine = Scene::of(Question::Authorize, Guest::utf16(PolicyKind::Auth, "wide")).await;
    Question::Authorize.ask(&fine.policies).await.unwrap();
}

#[tokio::test]
async fn text_or_a_list_beyond_memory_is_stopped() {
    for (address, length) in
        [(NAME, 1 << 30), (NAME, 0xffff_ffff), (0xffff_fff0, 8), (131_070, 3), (131_072, 1)]
    {
        let text = |place| move |_| grant().list(place, address, length);
        let list = |_| Image::zeros().list(4, address & !7, length);
        let answers = [
            (Question::Authorize, answering(Question::Authorize, b"", text(8))),
            (Question::Open, answering(Question::Open, b"", text(24))),
            (Question::ReviewAll, answering(Question::ReviewAll, b"", list)),
            (Question::Settle, answering(Question::Settle, b"", list)),
            (Question::Accrue, answering(Question::Accrue, b"", list)),
        ];
        for (question, guest) in answers {
            Scene::of(question, guest).await.stopped(TrapCause::Other, "out of bounds").await;
        }
    }
}

#[tokio::test]
async fn numbers_that_are_none_are_refused_in_every_answer() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, f64::from_bits(1), 1e300] {
        for place in [40, 56, 72] {
            let image = |_| grant().byte(place, 1).float(place + 8, value);
            let guest = answering(Question::Authorize, b"", image);
            Scene::of(Question::Authorize, guest).await.refused("difficulty").await;
        }
        let open = answering(Question::Open, b"", |_| Image::zeros().float(8, value));
        Scene::of(Question::Open, open).await.refused("difficulty").await;
        let review = listing(Question::ReviewAll, b"", |_| Image::zeros().float(0, value));
        Scene::of(Question::ReviewAll, review).await.refused("difficulty").await;
    }
}

#[tokio::test]
async fn a_window_that_is_no_number_keeps_a_payout_policy_out() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1000.1] {
        let house = House::new();
        house.put(PolicyKind::Payout, &Guest::new(PolicyKind::Payout, "liar").plans(1, value).build());
        let why = Policies::start(house.config.clone()).await.err().expect("it does not start").to_string();
        assert!(why.contains("its plan was refused") && why.contains("at most 1000"), "{why}");
    }
}

#[tokio::test]
async fn amounts_and_names_beyond_the_rules_are_refused() {
    let alice = |image: Image| move |text| image.list(0, text, 5);
    let settle = |image| listing(Question::Settle, b"alice", alice(image));
    let accrue = |image| listing(Question::Accrue, b"alice", alice(image));
    let answers = [
        (Question::Settle, settle(Image::zeros().byte(8, 0).long(16, 1 << 53)), "below 2^53"),
        (Question::Settle, settle(Image::zeros().byte(8, 1).long(16, u64::MAX)), "below 2^53"),
        (Question::Settle, settle(Image::zeros().byte(8, 1).long(16, 5_000_001_235)), "more than the reward"),
        (Question::Accrue, accrue(Image::zeros().long(8, u64::MAX)), "below 2^53"),
        (Question::Accrue, accrue(Image::zeros().long(8, 1 << 52)), "at most"),
        (Question::Accrue, accrue(Image::zeros().word(16, 1_000_000)), "below 1000000"),
        (Question::Accrue, accrue(Image::zeros().long(8, 5_000_000_000)), "expected"),
        (
            Question::Settle,
            listing(Question::Settle, b"a\nb", |text| Image::zeros().list(0, text, 3)),
            "account",
        ),
        (
            Question::Authorize,
            answering(Question::Authorize, b"<b>", |text| grant().list(8, text, 3)),
            "account",
        ),
        (
            Question::Authorize,
            answering(Question::Authorize, &[b'x'; 129], |text| grant().list(16, text, 129)),
            "worker",
        ),
        (
            Question::Open,
            answering(Question::Open, &[0; 257], |memo| Image::zeros().float(8, 1.0).list(24, memo, 257)),
            "256",
        ),
        (
            Question::ReviewAll,
            answering(Question::ReviewAll, b"", |_| Image::zeros()),
            "0 decisions for 1 reviews",
        ),
    ];
    for (question, guest, says) in answers {
        Scene::of(question, guest).await.refused(says).await;
    }
}

/// Room that the host asks for to put arguments in.
#[tokio::test]
async fn a_realloc_that_lies_is_stopped() {
    for garbage in ["(i32.const -16)", "(i32.const 0x7fffff00)", "(i32.const 131071)", "(unreachable)"] {
        let house = House::new();
        house.put(PolicyKind::Auth, &Guest::new(PolicyKind::Auth, "liar").realloc(garbage).build());
        let why = Policies::start(house.config.clone()).await.err().expect("it does not start").to_string();
        assert!(why.contains("`configure` failed"), "{why}");
        // Settings are two bytes: it lies about what is larger.
        let later = format!(
            "(if (result i32) (i32.gt_u (local.get 3) (i32.const 2)) (then {garbage}) (else (call $alloc (local.get 3))))"
        );
        for question in READ {
            let scene = Scene::of(question, liar(question).realloc(&later)).await;
            scene.stopped(TrapCause::Other, "").await;
            scene.mended().await;
        }
    }
}

/// So many records, each with the same text, made by doubling.
fn flood(question: Question, records: usize, text: usize) -> Guest {
    const LIST: usize = 1 << 16;
    let text_at = LIST + records * 32;
    let mut guest = liar(question);
    let answer = guest.put(&Image::zeros().list(4, LIST, records).0);
    let record = guest.put(&Image::zeros().list(0, text_at, text).0[..32]);
    let body = format!(
        "(local $bytes i32)
         (memory.fill (i32.const {text_at}) (i32.const 65) (i32.const {text}))
         (memory.copy (i32.const {LIST}) (i32.const {record}) (i32.const 32))
         (local.set $bytes (i32.const 32))
         (loop $more
           (memory.copy (i32.add (i32.const {LIST}) (local.get $bytes)) (i32.const {LIST}) (local.get $bytes))
           (local.set $bytes (i32.shl (local.get $bytes) (i32.const 1)))
           (br_if $more (i32.lt_u (local.get $bytes) (i32.const {half}))))
         (i32.const {answer})",
        half = records * 32,
    );
    guest.pages((text_at + text).div_ceil(65_536)).body(question.export(), &body)
}

/// A terabyte of text in an answer of 33 MB.
#[test]
fn a_million_records_of_a_megabyte_each_are_stopped_before_the_host_is_full() {
    if !alone("answers::a_million_records_of_a_megabyte_each_are_stopped_before_the_host_is_full") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for question in [Question::Settle, Question::Accrue] {
            let guest = flood(question, 1 << 20, 1 << 20);
            let scene = Scene::with(question, guest, |limits| {
                *limits = sluice_policy::Limits::of(PolicyKind::Payout);
            })
            .await;
            let before = Holdings::now().peak;
            scene.stopped(TrapCause::AnswerSize, "larger than its limit").await;
            let grown = Holdings::now().peak.saturating_sub(before);
            // The guest's memory, and what the host had read of its answer.
            assert!(grown < 400 << 20, "{} MiB", grown >> 20);
            scene.mended().await;
        }
    });
}

/// As many records as are allowed, each short: checked like any other.
#[tokio::test]
async fn more_records_than_allowed_are_refused() {
    let guest = flood(Question::Settle, 1 << 20, 1);
    let scene = Scene::with(Question::Settle, guest, |limits| {
        *limits = sluice_policy::Limits::of(PolicyKind::Payout);
    })
    .await;
    scene.refused("at most 1000000").await;
}
