//! What an audit can say once old shares are hours.

use sluice_core::policy::payout::Window;
use sluice_core::units::Timestamp;
use sluice_ledger::{Needed, Place, Subject};

use crate::judge::{Mood, forge, history, judged, subjects};
use crate::support::{difficulty, hash, number, sql};

#[tokio::test]
async fn books_whose_old_shares_are_folded_are_equal_as_far_as_the_log_reaches() {
    for window in [Window::Round, Window::Work(1.7), Window::DurationMs(4_000)] {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = history(dir.path(), window).await;
        let places = [5, 15, 25].map(|at| (hash(at), Place::InChain { confirmations: 100 }));
        ledger.block_places(places.to_vec()).await.expect("known");
        // Up to the middle of the third round.
        let needed = Needed { window, network_difficulty: difficulty(4.0) };
        let folded = ledger.fold(Timestamp(23_000), needed).await.expect("folded");
        assert!(folded.through.0 > 5, "{folded:?}");
        let report = judged(dir.path(), window, Mood::Steady);
        ledger.close().await;
        assert_eq!(report.findings, [], "{window:?}");
        assert!(report.is_clean());
        assert_eq!((report.shares, report.folded_through), (20, folded.through.0));
        assert!(
            report.folded >= 1 && report.folded < report.rounds,
            "{} of {}",
            report.folded,
            report.rounds
        );
        assert_eq!(judged(dir.path(), window, Mood::Steady), report, "the same of a pool that is stopped");
        let forgeries = [
            ("UPDATE share_hours SET shares = shares + 1", Subject::Totals),
            ("UPDATE shares SET difficulty = difficulty * 2 WHERE seq = 19", Subject::Input),
            ("UPDATE shares SET difficulty = difficulty * 2 WHERE seq = 19", Subject::Totals),
            ("UPDATE entries SET amount = amount + 1 WHERE journal = 1 AND line = 2", Subject::Credits),
            ("UPDATE rounds SET answer = replace(answer, '51', '52') WHERE block = 1", Subject::Answer),
        ];
        for (text, subject) in forgeries {
            let copy = tempfile::tempdir().expect("a directory");
            let from = sluice_ledger::database_in(dir.path());
            std::fs::copy(from, sluice_ledger::database_in(copy.path())).expect("copied");
            forge(copy.path(), text);
            let found = subjects(&judged(copy.path(), window, Mood::Steady));
            assert!(found.contains(&subject), "{window:?}, {text}: {found:?}");
        }
        assert_eq!(number(&sql(dir.path()), "SELECT min(seq) FROM shares") as u64, folded.through.0 + 1);
    }
}
