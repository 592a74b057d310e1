//! From bytes to machine code: in a child process, once for each content, kept in a private directory.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use sluice_core::policy::PolicyKind;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::check::bounded;
use crate::config::Compiler;
use crate::engine::engine;
use crate::error::{LoadError, StartError};
use crate::foreign::{confine_child, map_compiled};
use crate::kept::Shelf;

/// The longest that compiling may take; a Python component takes up to 20 s on a busy machine.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(180);
/// How often a compiling child is looked at.
const CHILD_POLL: Duration = Duration::from_millis(5);
/// What a child may say of its failure, in bytes.
const MESSAGE_LIMIT: u64 = 4096;
/// Compiled forms that are kept; what was not used for longest goes first.
const COMPILED_LIMIT: usize = 32;
/// The child's exit code for a component that does not compile: the same every time, so it is remembered.
const REFUSED: u8 = 3;

/// The content hash of a component, in hex.
pub(crate) fn content_hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The hidden subcommand that [`Compiler::Child`] runs: `IN.wasm OUT`, the last two arguments. Reads a component, writes
/// its machine code, fsynced. Exits with 0, 3 where the component does not compile, 1 for anything else; also when its
/// parent ends.
pub fn compile_child_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    confine_child();
    end_with_the_parent();
    let args: Vec<OsString> = args.into_iter().collect();
    let [input, output] = args.as_slice() else {
        eprintln!("usage: IN.wasm OUT");
        return ExitCode::FAILURE;
    };
    let outcome = fs::read(input)
        .map_err(|error| (1, error.to_string()))
        .and_then(|bytes| engine().map(|engine| (engine, bytes)).map_err(|error| (1, error.to_string())))
        .and_then(|(engine, bytes)| {
            engine.precompile_component(&bytes).map_err(|error| (REFUSED, format!("{error:#}")))
        })
        .and_then(|code| write_new(Path::new(output), &code).map_err(|error| (1, error.to_string())));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            eprintln!("{why}");
            ExitCode::from(code)
        }
    }
}

/// The parent never writes to the pipe that is standard input: its end is the parent's end. By hand there is no pipe.
fn end_with_the_parent() {
    let is_pipe = fs::metadata("/proc/self/fd/0").is_ok_and(|meta| meta.file_type().is_fifo());
    if is_pipe {
        thread::spawn(|| {
            // However it ends.
            let _ = std::io::stdin().read(&mut [0]);
            std::process::exit(1);
        });
    }
}

pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Feeds a hash with what `Hash` writes, so that the key does not depend on the standard library's hasher.
struct Feed(Sha256);

impl Hasher for Feed {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

/// Compiled code by content, and the components it was made from.
pub(crate) struct CodeCache {
    code: PathBuf,
    shelf: Shelf,
    /// Engine and crate: code of another version is another file.
    made_by: String,
    engine: Engine,
    compiler: Compiler,
}

impl CodeCache {
    /// # Errors
    /// A directory that cannot be made, or that others may write.
    pub(crate) fn open(dir: &Path, compiler: Compiler, engine: Engine) -> Result<Self, StartError> {
        let (code, shelf) = (dir.join("code"), Shelf::new(dir));
        for private in [dir, &code].into_iter().chain(shelf.dirs()) {
            make_private(private).map_err(|why| StartError::Cache { path: private.to_owned(), why })?;
        }
        let mut feed = Feed(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut feed);
        let made_by = format!("{}-{}", &hex::encode(feed.0.finalize())[..16], env!("CARGO_PKG_VERSION"));
        prune(&code, COMPILED_LIMIT, &|_| false);
        Ok(Self { code, shelf, made_by, engine, compiler })
    }

    /// The component ready to be instantiated; compiled where that was not done before.
    ///
    /// # Errors
    /// [`LoadError::Compile`] and its kin; a refusal is remembered.
    pub(crate) fn component(
        &self,
        bytes: &[u8],
        hash: &str,
        superseded: &dyn Fn() -> bool,
    ) -> Result<Component, LoadError> {
        let target = self.code.join(format!("{hash}-{}.cwasm", self.made_by));
        let refusal = target.with_extension("refused");
        if let Ok(why) = fs::read_to_string(&refusal) {
            return Err(LoadError::Compile(why));
        }
        if target.exists() {
            match map_compiled(&self.engine, &target) {
                Ok(component) => {
                    used(&target);
                    return Ok(component);
                }
                Err(error) => self.discard(&target, &error)?,
            }
        }
        let aside = self.aside("cwasm");
        let made = self.compile(bytes, &aside, superseded);
        if let Err(LoadError::Compile(why)) = &made {
            self.remember(&refusal, why);
        }
        let placed = made.and_then(|()| fs::rename(&aside, &target).map_err(|error| self.broken(&error)));
        if placed.is_err() {
            // It may never have been written.
            let _ = fs::remove_file(&aside);
        }
        placed?;
        let component =
            map_compiled(&self.engine, &target).map_err(|error| compile_error(&format!("{error:#}")));
        // Every version of a policy that is being worked on is another file.
        prune(&self.code, COMPILED_LIMIT, &|_| false);
        component
    }

    /// See [`Shelf::tidy`].
    pub(crate) fn tidy(&self) {
        self.shelf.tidy();
    }

    /// Stores a component that was proved, under its hash and before it serves; it stays while the answer lives.
    ///
    /// # Errors
    /// [`LoadError::Cache`].
    pub(crate) fn keep(&self, kind: PolicyKind, bytes: &[u8], hash: &str) -> Result<Arc<str>, LoadError> {
        let aside = self.aside("wasm");
        self.shelf.keep(kind, bytes, hash, &aside).map_err(|error| self.broken(&error))
    }

    /// A name of its own beside the others.
    fn aside(&self, extension: &str) -> PathBuf {
        let mut random = [0u8; 8];
        // Without entropy the process id and the time still tell two writers apart.
        if getrandom::fill(&mut random).is_err() {
            random = crate::slot::unix_millis().to_be_bytes();
        }
        self.code.join(format!(".{}-{}.{extension}", std::process::id(), hex::encode(random)))
    }

    fn broken(&self, error: &std::io::Error) -> LoadError {
        LoadError::Cache { path: self.code.clone(), why: error.to_string() }
    }

    /// Code that does not load any more goes by unlink: somebody may have it mapped.
    fn discard(&self, target: &Path, error: &wasmtime::Error) -> Result<(), LoadError> {
        tracing::warn!(file = %target.display(), error = %format!("{error:#}"), "compiled code is made anew");
        fs::remove_file(target).map_err(|error| self.broken(&error))
    }

    fn remember(&self, refusal: &Path, why: &str) {
        let aside = self.aside("refused");
        if let Err(error) = write_new(&aside, why.as_bytes()).and_then(|()| fs::rename(&aside, refusal)) {
            tracing::warn!(%error, "a refused component is not remembered");
        }
    }

    fn compile(&self, bytes: &[u8], output: &Path, superseded: &dyn Fn() -> bool) -> Result<(), LoadError> {
        match &self.compiler {
            Compiler::InProcess => {
                let code = self
                    .engine
                    .precompile_component(bytes)
                    .map_err(|error| compile_error(&format!("{error:#}")))?;
                write_new(output, &code).map_err(|error| self.broken(&error))
            }
            Compiler::Child { program, args } => {
                let source = self.aside("wasm");
                let made = write_new(&source, bytes)
                    .map_err(|error| self.broken(&error))
                    .and_then(|()| spawn(program, args, &source, output))
                    .and_then(|child| watch_child(child, COMPILE_TIMEOUT, superseded));
                // It may never have been written.
                let _ = fs::remove_file(&source);
                made
            }
        }
    }
}

fn spawn(program: &Path, args: &[OsString], source: &Path, output: &Path) -> Result<Child, LoadError> {
    Command::new(program)
        .args(args)
        .args([source, output])
        .env_clear()
        // Held open until the child has ended: by that it notices when this process ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| LoadError::Compiler {
            status: format!("{} did not start", program.display()),
            said: error.to_string(),
        })
}

fn compile_error(why: &str) -> LoadError {
    LoadError::Compile(bounded(why.trim(), 1000))
}

/// Waits for a compiling child, and ends it where it takes too long or a newer file arrived.
fn watch_child(mut child: Child, limit: Duration, superseded: &dyn Fn() -> bool) -> Result<(), LoadError> {
    let stderr = child.stderr.take();
    let said = thread::spawn(move || {
        let mut text = String::new();
        if let Some(stderr) = stderr {
            // What is not UTF-8 is lost with what is beyond the limit.
            let _ = stderr.take(MESSAGE_LIMIT).read_to_string(&mut text);
        }
        text
    });
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if superseded() => return end(child, LoadError::Superseded),
            Ok(None) if began.elapsed() >= limit => {
                return end(child, LoadError::CompileTimeout { seconds: limit.as_secs() });
            }
            Ok(None) => thread::sleep(CHILD_POLL),
            Err(error) => return end(child, compile_error(&error.to_string())),
        }
    };
    let said = said.join().unwrap_or_default();
    match status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(REFUSED) => Err(compile_error(&said)),
        // May go otherwise the next time: not remembered.
        _ => Err(LoadError::Compiler { status: status.to_string(), said: bounded(said.trim(), 400) }),
    }
}

fn end(mut child: Child, why: LoadError) -> Result<(), LoadError> {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    Err(why)
}

fn make_private(dir: &Path) -> Result<(), String> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| error.to_string())?;
    let meta = fs::metadata(dir).map_err(|error| error.to_string())?;
    if meta.mode() & 0o022 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(format!(
            "others may write it (mode {mode:o}): compiled code there is run as it is; chmod 700"
        ));
    }
    // A file made now belongs to this user.
    let probe = tempname(dir);
    let ours =
        File::create_new(&probe).and_then(|file| file.metadata()).map_err(|error| error.to_string())?;
    let _ = fs::remove_file(&probe);
    if meta.uid() == ours.uid() { Ok(()) } else { Err("it belongs to another user".to_owned()) }
}

fn tempname(dir: &Path) -> PathBuf {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    dir.join(format!(".probe-{}-{nanos}", std::process::id()))
}

/// Renews the time by which [`prune`] goes.
pub(crate) fn used(file: &Path) {
    // Where that is refused it goes sooner, and is made again when it is needed.
    let _ = File::options().append(true).open(file).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Keeps the newest files of a directory and those that are spared; what is mapped somewhere stays mapped.
pub(crate) fn prune(dir: &Path, limit: usize, spared: &dyn Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    for (_, path) in files.into_iter().skip(limit).filter(|(_, path)| !spared(path)) {
        // Gone already, or for the next time.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests;
