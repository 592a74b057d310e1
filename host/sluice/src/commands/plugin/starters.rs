//! `sluice plugin new`: a directory to start from. The files are part of this program.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sluice_core::policy::PolicyKind;

use super::manifest::{self, Manifest};
use crate::cli::{Language, NewPlugin, exit};

/// Everything of plugins/sdk and wit, by path.
static FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/starters.rs"));

/// The contract that this program speaks.
pub(super) const CONTRACT: &str = "wit/policy.wit";

/// The Rust SDK's manifest for a directory of its own: in the project it is a member of a workspace.
const SDK_MANIFEST: &str = concat!(
    "[package]\nname = \"sluice-plugin\"\nversion = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nedition = \"2024\"\nrust-version = \"1.95\"\nlicense = \"MIT OR Apache-2.0\"\npublish = false\n"
);

/// A file of a starter: where it goes, and what is in it.
type File = (PathBuf, Vec<u8>);

/// # Errors
/// A directory that is not empty, or that cannot be written.
pub(super) fn run(args: &NewPlugin, out: &mut dyn Write) -> anyhow::Result<u8> {
    make(args.kind.into(), args.lang, &args.dir)?;
    let Manifest { name, .. } = Manifest::read(&args.dir)?;
    let (dir, kind, language) = (args.dir.display(), PolicyKind::from(args.kind), args.lang.label());
    writeln!(out, "{dir} holds {name}, {} {kind} policy in {language} that works as it is.", article(kind))?;
    writeln!(out, "Next:")?;
    writeln!(out, "  sluice plugin build {dir}    # leaves {dir}/{name}.wasm")?;
    writeln!(out, "  sluice plugin test {dir}     # the contract, and the calls of {dir}/tests")?;
    writeln!(out, "Then change {dir}/{}, and read {dir}/README.md.", main_file(args.lang))?;
    Ok(exit::OK)
}

fn article(kind: PolicyKind) -> &'static str {
    if kind == PolicyKind::Auth { "an" } else { "a" }
}

/// What an author edits first.
const fn main_file(language: Language) -> &'static str {
    match language {
        Language::Rust => "src/policy.rs",
        Language::Javascript => "policy.js",
        Language::Python => "plugin.py",
        Language::C => "plugin.c",
    }
}

/// Writes a starter.
pub(super) fn make(kind: PolicyKind, language: Language, dir: &Path) -> anyhow::Result<()> {
    refuse_what_is_there(dir)?;
    let files = files(kind, language);
    if !files.iter().any(|(path, _)| path.as_os_str() == manifest::FILE) {
        bail!("this program was built without a starter for {kind} in {}", language.label());
    }
    for (path, content) in files {
        let path = dir.join(path);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
        fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

fn refuse_what_is_there(dir: &Path) -> anyhow::Result<()> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            Some(_) => bail!("{} is not empty: a new directory is needed", dir.display()),
            None => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be used", dir.display())),
    }
}

/// A starter is what its language's starters share, its own files, the scenarios of its kind, and the contract.
fn files(kind: PolicyKind, language: Language) -> Vec<File> {
    let lang = language.label();
    let places = [
        (format!("{lang}/shared/"), ""),
        (format!("{lang}/{kind}/"), ""),
        (format!("scenarios/{kind}/"), "tests/"),
        ("wit/".to_owned(), "wit/"),
    ];
    let mut files: Vec<File> = Vec::new();
    for (from, to) in places {
        let below = FILES.iter().filter_map(|(path, content)| Some((path.strip_prefix(&from)?, content)));
        files.extend(below.map(|(path, content)| (Path::new(to).join(path), content.to_vec())));
    }
    if language == Language::Rust {
        files.extend(sdk());
    }
    files
}

/// The Rust SDK, to lie beside the plugin: what it is built from does not change under it.
fn sdk() -> Vec<File> {
    let sources = FILES.iter().filter_map(|(path, content)| Some((path.strip_prefix("rust/src/")?, content)));
    let mut files: Vec<File> =
        sources.map(|(path, content)| (Path::new("sdk/src").join(path), without_tests(content))).collect();
    files.push((PathBuf::from("sdk/Cargo.toml"), SDK_MANIFEST.as_bytes().to_vec()));
    files
}

/// The SDK's tests stay in the project, and so must the lines that name them.
fn without_tests(source: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(source).replace("\n#[cfg(test)]\nmod tests;\n", "").into_bytes()
}

/// Whether the contract beside a plugin is this program's.
pub(super) fn is_current_contract(dir: &Path) -> bool {
    let own = FILES.iter().find(|(path, _)| *path == CONTRACT).map(|(_, content)| *content);
    // A plugin may have its contract elsewhere.
    fs::read(dir.join(CONTRACT)).map_or(true, |theirs| Some(theirs.as_slice()) == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_in_every_language_has_all_that_building_and_testing_needs() {
        let languages = [Language::Rust, Language::Javascript, Language::Python, Language::C];
        for (language, kind) in languages.iter().flat_map(|one| PolicyKind::ALL.map(|kind| (*one, kind))) {
            let dir = tempfile::tempdir().unwrap();
            make(kind, language, dir.path()).unwrap();
            let manifest = Manifest::read(dir.path()).unwrap();
            assert_eq!((manifest.kind, manifest.language), (kind, language));
            for file in [main_file(language), "README.md", "wit/policy.wit", "tests/policy.toml"] {
                assert!(dir.path().join(file).is_file(), "{file} of {kind} in {}", language.label());
            }
            assert!(is_current_contract(dir.path()));
        }
    }

    #[test]
    fn a_directory_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "x").unwrap();
        let refused = make(PolicyKind::Auth, Language::Rust, dir.path()).unwrap_err();
        assert!(refused.to_string().contains("is not empty"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_vendored_sdk_is_whole_and_names_no_test_file_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        make(PolicyKind::Vardiff, Language::Rust, dir.path()).unwrap();
        let lib = fs::read_to_string(dir.path().join("sdk/src/lib.rs")).unwrap();
        assert!(lib.contains("pub trait Policy"), "{lib}");
        let settings = fs::read_to_string(dir.path().join("sdk/src/settings.rs")).unwrap();
        assert!(!settings.contains("mod tests;"), "its tests are not there");
        assert!(!dir.path().join("sdk/src/settings/tests.rs").exists());
    }
}
