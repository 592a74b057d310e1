//! Where copies are put, who may read them, and which files are read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sluice_core::policy::payout::Window;
use sluice_ledger::{FileError, Format, audit, backup, database_in, export};

use crate::judge::{ByWork, Mood, history};
use crate::support::sql;

fn exported(dir: &Path, out: &Path) -> Result<(), FileError> {
    export(&database_in(dir), out, Format::Csv, &mut |_| {}).map(|_| ())
}

fn backed_up(dir: &Path, file: &Path) -> Result<(), FileError> {
    backup(&database_in(dir), file, &mut |_, _| {}).map(|_| ())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[tokio::test]
async fn only_their_owner_can_read_copies() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path(), Window::Round).await.close().await;
    let (books, file) = (dir.path().join("books"), dir.path().join("copy.db"));
    exported(dir.path(), &books).expect("written");
    backed_up(dir.path(), &file).expect("written");
    assert_eq!((mode(&books), mode(&file)), (0o700, 0o600));
    for entry in fs::read_dir(&books).expect("readable") {
        let path = entry.expect("readable").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn what_an_earlier_copy_left_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path(), Window::Round).await.close().await;
    let left = |name: &str| dir.path().join(format!("{name}.partial-{}", std::process::id()));
    fs::create_dir(left("books")).expect("made");
    fs::write(left("copy.db"), "half").expect("written");
    let named = |error: FileError, name: &str| match error {
        FileError::Leftover { path } => assert_eq!(path, left(name)),
        other => panic!("{other}"),
    };
    named(exported(dir.path(), &dir.path().join("books")).expect_err("in the way"), "books");
    named(backed_up(dir.path(), &dir.path().join("copy.db")).expect_err("in the way"), "copy.db");
    assert_eq!(fs::read_to_string(left("copy.db")).expect("there"), "half", "nobody else's file is removed");
}

#[tokio::test]
async fn an_export_that_could_not_get_its_name_is_refused_before_it_begins() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path(), Window::Round).await.close().await;
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::create_dir(&real).expect("made");
    std::os::unix::fs::symlink(&real, &link).expect("made");
    for (out, words) in [(link, "a symbolic link"), (real.join(".."), "no name of its own")] {
        let error = exported(dir.path(), &out).expect_err("no place");
        assert!(matches!(error, FileError::NoPlace { .. }) && error.to_string().contains(words), "{error}");
    }
    assert!(exported(dir.path(), Path::new(".")).is_err_and(|error| error.to_string().contains("no name")));
    assert_eq!(fs::read_dir(&real).expect("readable").count(), 0);
}

#[tokio::test]
async fn a_ledger_of_another_schema_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    history(dir.path(), Window::Round).await.close().await;
    for (version, words) in [(2, "start the pool once"), (99, "use the newer version")] {
        sql(dir.path()).pragma_update(None, "user_version", version).expect("written");
        let mut judge = ByWork { window: Window::Round, mood: Mood::Steady, asked: 0 };
        let errors = [
            audit(&database_in(dir.path()), &mut judge, &mut |_| {}).map(|_| ()),
            exported(dir.path(), &dir.path().join("books")),
            backed_up(dir.path(), &dir.path().join("copy.db")),
        ];
        for error in errors {
            let told = error.expect_err("another schema").to_string();
            assert!(told.contains(&format!("has schema {version}")) && told.contains(words), "{told}");
        }
    }
}
